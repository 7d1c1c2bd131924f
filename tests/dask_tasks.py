"""What the workers of the tests of rounds run: workers must be able to import it by name."""

import os
import tempfile
import time

import numpy as np


def add(value, number):
    return np.arange(4.0) * value + number


def add_to(part, number):
    return part + number


def fail_on_part(part, kind, partition):
    if part[1] == partition:  # the second entry of `add` is the number of the part
        raise kind("no good")
    return part


def slow_add(value, number):
    time.sleep(0.15)
    return add(value, number)


def finish_backwards(value):
    time.sleep(0.4 / (1 + value))
    return value


def slow_sum(values, number):
    time.sleep(0.15)
    return values + number


def size_of(value, array):
    return array.nbytes


def count_call(value, folder):
    descriptor, path = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    return path


def fail_at(value, kind, partition):
    if value == partition:
        raise kind("no good")
    time.sleep(0.05)
    return value


def stop_process(value):
    os._exit(3)


def sleep_for_ever(value):
    while True:
        time.sleep(0.05)


SUBMIT_AND_WAIT = """
import sys
import dask_tasks
from distributed import Client
from fastem.dask.rounds import Rounds

rounds = Rounds(Client(sys.argv[1]))
futures = rounds.submit("killed-client", dask_tasks.slow_add, [(i,) for i in range(200)], 1.0)
rounds.collect("killed-client", futures[:2])
print("busy", flush=True)
rounds.collect("killed-client", futures)
"""

# A worker that cannot import fastem.
WORKER_WITHOUT_FASTEM = """
import sys
sys.modules["fastem"] = None
from distributed.cli.dask_worker import main
main()
"""


def read_with_error(block, block_id=None):
    if block_id[0] == 2:
        raise OSError("disk is gone")
    return block


def read_for_ever(block):
    while True:
        time.sleep(0.05)
