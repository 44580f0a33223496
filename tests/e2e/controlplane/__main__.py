"""`python -m tests.e2e.controlplane [FOLDER]`: a control plane to play with, until Ctrl-C.

Prints the path of an administrator's kubeconfig once the API server is ready.
"""

import signal
import sys
import tempfile
from pathlib import Path

from tests.e2e.controlplane import ControlPlane, find
from tests.programs import Unavailable


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job would ignore the first
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="controlplane-") as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            plane = ControlPlane(find(_say), folder)
        except Unavailable as reason:
            sys.exit(str(reason))
        try:
            plane.start()
            print(plane.kubeconfig("admin"), flush=True)  # noqa: T201 - the answer of this program
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            plane.stop()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress of a build


if __name__ == "__main__":
    _main()
