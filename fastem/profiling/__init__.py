"""Times of E-steps, their growth with the size of a problem, and compilation in advance."""

from fastem.profiling.growth import crossings
from fastem.profiling.scaling import ScalingProfile, engine_names, profile_scaling
from fastem.profiling.stopwatch import ScalingRow
from fastem.profiling.warmup import warmup

__all__ = [
    "ScalingProfile",
    "ScalingRow",
    "crossings",
    "engine_names",
    "profile_scaling",
    "warmup",
]
