from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from nodeipam.cli.demo.live import LiveScreen, frame, picture
from nodeipam.cli.demo.observer import Observer, Violation
from nodeipam.cli.demo.plain import PlainScreen
from nodeipam.cli.demo.scene import Actor, Bar, Happening, Report, Scene, quantile, report, seconds

SCENE = Scene(
    at=12.3,
    pools=(
        Bar("first", ("10.0.0.0/19", "fd00::/115"), "", 32, 32),
        Bar("gpu", ("10.128.0.0/18", "fd00:128::/114"), "example.com/gpu", 8, 16),
    ),
    replicas=(Actor("alpha", 11, "killed"), Actor("beta", 12, "leads")),
    served=52,
    waiting=3,
    left=5,
    latencies=(0.002, 0.003, 0.024),
    happenings=tuple(Happening(index / 10, f"happening {index}") for index in range(30)),
)


def drawn(scene: Scene, *, width: int, height: int) -> list[str]:
    """The lines of one frame on a terminal of this size."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, record=True)
    console.print(frame(scene, height))
    return console.export_text().rstrip("\n").splitlines()


class TestLive:
    @pytest.mark.parametrize("width,height", [(80, 24), (120, 40)])
    def test_size(self, width: int, height: int) -> None:
        """A frame fits into the terminal, and its last line is free for the cursor."""
        lines = drawn(SCENE, width=width, height=height)

        assert max(len(line) for line in lines) <= width
        assert height - 10 < len(lines) < height

    def test_what_is_seen(self) -> None:
        """All pools with their use, who leads, who died, the Nodes, the latency and the latest happenings."""
        text = "\n".join(drawn(SCENE, width=80, height=24))

        for part in ("32/32 full", "8/16", "10.128.0.0/18", "● beta  leads", "✗ alpha killed", "52 served"):
            assert part in text
        for part in ("3 waiting", "5 left", "p50 3 ms  p99 24 ms", "0 violations", "happening 29"):
            assert part in text
        assert "happening 5" not in text

    def test_long_happening(self) -> None:
        """A text that is too long is cut, so that the frame keeps its height."""
        scene = replace(SCENE, happenings=(Happening(0.0, "x" * 200),))

        assert len(drawn(SCENE, width=80, height=24)) == len(drawn(scene, width=80, height=24))

    def test_screen(self) -> None:
        """Scenes are drawn to the console; lines after them are not wrapped, so that they can be copied."""
        out = io.StringIO()
        screen = LiveScreen(Console(file=out, width=80, height=24, force_terminal=True))
        with screen:
            screen.show(SCENE)
        screen.close(SCENE, report(Observer(), 12.3))
        screen.say("x" * 100)

        assert "happening 29" in out.getvalue()
        assert "an independent observer saw" in out.getvalue()
        assert "x" * 100 in out.getvalue()

    def test_picture(self) -> None:
        """The picture has frame and verdict, is the same each time, small, and loads nothing."""
        svg = picture(SCENE, report(Observer(), 12.3))

        assert svg == picture(SCENE, report(Observer(), 12.3))
        assert "happening&#160;29" in svg
        assert "shared" in svg
        assert "url(http" not in svg
        assert len(svg) < 60_000


class TestPlain:
    def test_each_happening_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A happening is one line, printed when it is new."""
        with PlainScreen() as screen:
            screen.show(replace(SCENE, happenings=SCENE.happenings[:1]))
            screen.show(replace(SCENE, happenings=SCENE.happenings[:2]))

        assert "  0.0 s  happening 0\n  0.1 s  happening 1\n" == capsys.readouterr().out

    def test_verdict(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What was violated is marked and told; the rest held."""
        observer = Observer(violations=[Violation("shared", "b got what a has")])
        PlainScreen().close(SCENE, report(observer, 12.3))
        out = capsys.readouterr().out

        assert "VIOLATED  no two Nodes ever shared an address\n" in out
        assert "held      no Node's ranges ever changed\n" in out
        assert "b got what a has\n" in out
        assert "32 of 32 blocks, 10.0.0.0/19, fd00::/115\n" in out


class TestReport:
    def test_good(self) -> None:
        """Without violations every check holds."""
        assert report(Observer(closed=True), 1.0).good

    def test_unjudged(self) -> None:
        """What wasn't judged isn't said to hold."""
        checks = {text: held for held, text in report(Observer(), 1.0).checks}
        assert [None] == [held for held in checks.values() if held is not True]

    @pytest.mark.parametrize("rule", ["shared", "changed", "unserved", "writers", "seen", "told"])
    def test_bad(self, rule: str) -> None:
        """A violation of any rule makes just one check fail."""
        verdict: Report = report(Observer(closed=True, violations=[Violation(rule, "text")]), 1.0)  # type: ignore[arg-type]

        assert not verdict.good
        assert 1 == sum(held is False for held, _ in verdict.checks)

    def test_figures(self) -> None:
        """Latencies are told as p50 and p99, and by whom Nodes were written to in order."""
        observer = Observer(latencies=[0.001] * 99 + [0.5], writers={"beta": None, "alpha": None})
        figures = dict(report(observer, 12.34).figures)

        assert "100 Nodes: p50 1 ms, p99 1 ms" == figures["served at once"]
        assert ("12.3 s", "beta, then alpha") == (figures["took"], figures["wrote to Nodes"])


@pytest.mark.parametrize("share,expected", [(0.0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)])
def test_quantile(share: float, expected: float) -> None:
    """It is one of the values: the least that so many don't exceed."""
    assert expected == quantile([4, 1, 3, 2], share)


@pytest.mark.parametrize(
    "value,text", [(math.nan, "-"), (0.0, "0 ms"), (0.0236, "24 ms"), (0.9999, "1.0 s"), (12.34, "12.3 s")]
)
def test_seconds(value: float, text: str) -> None:
    """Durations are written as people say them."""
    assert text == seconds(value)
