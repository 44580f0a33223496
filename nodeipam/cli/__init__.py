"""The command line: reads flags and environment, configures logging, runs the controller.

What only a whole process may do is done here and nowhere else: signals, exit codes, the log's rendering,
tuning the garbage collector.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line that this process was started with, and exit.

    Exit code 0 after a clean stop, help or version; 1 for anything else, with one line on stderr that says
    why.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)  # until the event loop runs there is nothing to bring to an end
    from .command import execute  # noqa: PLC0415 - imports take long enough to be interrupted

    sys.exit(execute(sys.argv[1:]))


def _leave(*_: object) -> NoReturn:
    sys.exit(0)
