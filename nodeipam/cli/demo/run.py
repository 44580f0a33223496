"""From options to an exit code; signals, and the folder with the replicas' logs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .cluster import cluster
from .observer import Observer
from .plain import PlainScreen
from .scene import Report, Scene, Screen, report
from .stage import Stage
from .story import LEAST, MOST, tell
from .watching import observing

__all__ = ["Options", "demo"]

_SLOWEST = 60
_COLUMNS = "NODE:.metadata.name,RANGES:.spec.podCIDRs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How it is played."""

    nodes: int
    seed: int
    pace: float
    """Seconds for which a step is on the screen at least."""
    hold: bool
    """Whether it stays up at the end, until a signal comes."""
    picture: Path | None
    """A file for what the screen shows at the end."""


def demo(options: Options) -> int:
    """Play the demo, and return 0 if every invariant held, 1 if not, 2 if it can't be played like that.

    Interrupted before the end it returns 128 plus the signal's number.
    """
    if not LEAST <= options.nodes <= MOST:
        return _complain(f"--nodes can be from {LEAST} to {MOST}, not {options.nodes}")
    if not 0 <= options.pace <= _SLOWEST:
        return _complain(f"--pace can be from 0 to {_SLOWEST} seconds, not {options.pace:g}")
    if options.picture is not None and find_spec("rich") is None:
        return _complain("--picture needs rich: pip install 'nodeipam[demo]'")
    folder = Path(tempfile.mkdtemp(prefix="nodeipam-demo-"))
    screen, interrupt = _screen(), _Interrupt()
    code = 1
    try:
        with asyncio.Runner() as runner:
            code = runner.run(_perform(options, folder, screen, interrupt))
    except asyncio.CancelledError:
        if interrupt.received is None:
            raise
        code = 128 + interrupt.received
        screen.say("interrupted: nothing is left running")
    if code == 1 or options.hold:
        screen.say(f"the replicas' logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _complain(message: str) -> int:
    print(f"nodeipam: {message}", file=sys.stderr)  # noqa: T201
    return 2


async def _perform(options: Options, folder: Path, screen: Screen, interrupt: _Interrupt) -> int:
    interrupt.install()
    observer = Observer()
    async with cluster(folder) as made, observing(made.url, observer):
        stage = Stage(made, observer, screen, pace=options.pace)
        with screen:
            await stage.play(tell(options.nodes, options.seed))
        scene, verdict = stage.scene(), report(observer, stage.elapsed)
        screen.close(scene, verdict)
        if options.picture is not None:
            _write_picture(options.picture, scene, verdict)
        if options.hold:
            screen.say("It stays up until Ctrl-C. Look around with")
            screen.say(f"kubectl --server {made.url} get nodes -o custom-columns={_COLUMNS}")
            await interrupt.wait()
            stage.look()
            for violation in observer.violations[len(verdict.violations) :]:
                screen.say(violation.text)
        interrupt.ignore()
        return 1 if observer.violations else 0


def _write_picture(path: Path, scene: Scene, verdict: Report) -> None:
    from .live import picture  # noqa: PLC0415 - rich may not be installed

    path.write_text(picture(scene, verdict), encoding="utf-8")


class _Interrupt:
    """The first signal cancels the performance, or ends the wait for it; the others change nothing.

    Nor does one that comes when all is over: it would cancel the end of the replicas.
    """

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

    def ignore(self) -> None:
        """Let a signal change nothing from here on."""
        self._task = None

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
