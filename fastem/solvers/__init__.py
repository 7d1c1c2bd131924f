"""Solvers: EM, its acceleration, L-BFGS and Adam on the same objective."""

from fastem.solvers.acceleration import QuasiNewtonStep
from fastem.solvers.adam import AdamState, BatchedNetwork, Extent, FallingRate, run_adam
from fastem.solvers.em import DampedStep, PlainStep, Stepper, run_em
from fastem.solvers.held_out import HeldOut
from fastem.solvers.lbfgs import run_lbfgs
from fastem.solvers.monitor import EpochMonitor, Monitor
from fastem.solvers.network import Network, PenalisedNetwork
from fastem.solvers.starts import FLOORS_OF_STARTS, draw_start, settle
from fastem.solvers.stochastic import SmoothedMonitor, StochasticStep
from fastem.solvers.summed_network import Request, SummedNetwork

__all__ = [
    "FLOORS_OF_STARTS",
    "AdamState",
    "BatchedNetwork",
    "DampedStep",
    "EpochMonitor",
    "Extent",
    "FallingRate",
    "HeldOut",
    "Monitor",
    "Network",
    "PenalisedNetwork",
    "PlainStep",
    "QuasiNewtonStep",
    "Request",
    "SmoothedMonitor",
    "Stepper",
    "StochasticStep",
    "SummedNetwork",
    "draw_start",
    "run_adam",
    "run_em",
    "run_lbfgs",
    "settle",
]
