"""From options to an exit code; signals, and the folder with the replicas' logs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from .cluster import cluster
from .observer import Observer
from .plain import PlainScreen
from .scene import Screen, report
from .stage import Stage
from .story import LEAST, MOST, tell
from .watching import observing

__all__ = ["demo"]


def demo(*, nodes: int, seed: int, pace: float, hold: bool, picture: Path | None) -> int:
    """Play the demo, and return 0 if every invariant held, 1 if not, 2 if it can't be played like that.

    Interrupted before the end it returns 128 plus the signal's number.
    """
    if not LEAST <= nodes <= MOST:
        print(f"nodeipam: --nodes can be from {LEAST} to {MOST}, not {nodes}", file=sys.stderr)  # noqa: T201
        return 2
    if pace < 0:
        print(f"nodeipam: --pace can't be negative, and is {pace:g}", file=sys.stderr)  # noqa: T201
        return 2
    folder = Path(tempfile.mkdtemp(prefix="nodeipam-demo-"))
    screen, interrupt = _screen(), _Interrupt()
    code = 1
    try:
        with asyncio.Runner() as runner:
            code = runner.run(_perform(folder, screen, interrupt, nodes, seed, pace, hold, picture))
    except asyncio.CancelledError:
        if interrupt.received is None:
            raise
        code = 128 + interrupt.received
        screen.say("interrupted: nothing is left running")
    if code == 1 or hold:
        screen.say(f"the replicas' logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


async def _perform(
    folder: Path,
    screen: Screen,
    interrupt: _Interrupt,
    nodes: int,
    seed: int,
    pace: float,
    hold: bool,  # noqa: FBT001 - an option
    picture: Path | None,
) -> int:
    interrupt.install()
    observer = Observer()
    async with cluster(folder) as made, observing(made.url, observer):
        stage = Stage(made, observer, screen, pace=pace)
        with screen:
            await stage.play(tell(nodes, seed))
        scene, verdict = stage.scene(), report(observer, stage.elapsed)
        screen.close(scene, verdict)
        if picture is not None:
            from .live import picture as drawn  # noqa: PLC0415 - rich may not be installed

            picture.write_text(drawn(scene, verdict), encoding="utf-8")
        if hold:
            screen.say("It stays up until Ctrl-C. Look around with")
            screen.say(f"kubectl --server {made.url} get nodes,clustercidrs")
            await interrupt.wait()
            stage.look()
        return 1 if observer.violations else 0


class _Interrupt:
    """The first signal cancels the performance, or ends the wait for it; the others change nothing."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._task: asyncio.Task[object] | None = None
        self._awaited: asyncio.Event | None = None

    def install(self) -> None:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, number)

    async def wait(self) -> None:
        """Until a signal comes, which then cancels nothing."""
        self._awaited = asyncio.Event()
        await self._awaited.wait()

    def _on_signal(self, number: signal.Signals) -> None:
        if self.received is not None:
            return
        self.received = number
        if self._awaited is not None:
            self._awaited.set()
        elif self._task is not None:
            self._task.cancel()


def _screen() -> Screen:
    if not sys.stdout.isatty():
        return PlainScreen()
    if find_spec("rich") is None:
        screen = PlainScreen()
        screen.say("plain lines, since rich isn't installed: pip install 'nodeipam[demo]' for a live picture")
        return screen
    from rich.console import Console  # noqa: PLC0415 - it may not be installed

    from .live import LiveScreen  # noqa: PLC0415

    console = Console()
    return PlainScreen() if console.is_dumb_terminal else LiveScreen(console)
