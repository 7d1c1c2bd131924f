"""The program ``fastem``: the command line in a process of its own."""

import os
import sys

from fastem.cli.command_line import run_command
from fastem.cli.interrupts import ending_on_interrupt
from fastem.cli.messages import INTERRUPTED
from fastem.cli.progress import Display


def run() -> int:
    """Run the command line for the arguments of the process.

    Ctrl-C ends the process within a second, also during a long compiled call.

    Returns
    -------
    status : int
        As for `fastem.cli.main`.
    """
    display = Display()
    status = INTERRUPTED
    try:
        with ending_on_interrupt(display):
            status = run_command(sys.argv[1:], display)
    except KeyboardInterrupt:  # between the end of the work and the end of the watch
        pass
    if status == INTERRUPTED:
        os._exit(status)  # at once: the normal end of Python takes longer
    return status
