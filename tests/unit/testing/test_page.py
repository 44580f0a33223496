"""docs/testing.md: its tests pass, and what it names is there."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from nodeipam import testing
from nodeipam.testing.faults import Action

PAGE = (Path(__file__).parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
TESTS = [
    (name, test)
    for name, text in PROGRAMS.items()
    for test in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The page's programs, each imported from a file of its name."""
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield {name: importlib.import_module(name) for name in PROGRAMS}
    for name in PROGRAMS:
        del sys.modules[name]


@pytest.mark.parametrize("program, test", TESTS, ids=[test for _, test in TESTS])
def test_the_pages_tests_pass(programs: dict[str, ModuleType], program: str, test: str) -> None:
    """Each test that the page shows passes."""
    getattr(programs[program], test)()


def test_the_names_are_right() -> None:
    """The classes, the server's methods and attributes, and the faults that the page names are there."""
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    attributes = re.findall(r"`server\.(\w+)", prose)
    assert 8 < len(attributes)
    assert [] == [name for name in attributes if not hasattr(testing.APIServer(), name)]
    (first, second, third) = re.findall(r"`Fault`: (.*?) \|", prose)
    named = {name for row in (first, second, third) for name in re.findall(r"`(\w+)`", row)}
    assert set(get_args(Action)) == named
    hosted = re.search(r"`Host`: (.*?) \|", prose)
    linked = re.search(r"`Link`: (.*?) \|", prose)
    assert hosted
    assert linked
    assert [] == [name for name in re.findall(r"`(\w+)", linked[1]) if not hasattr(testing.Link(), name)]
    loop = testing.VirtualLoop()
    host = testing.Host(loop, "host")
    loop.close()
    assert [] == [name for name in re.findall(r"`(\w+)", hosted[1]) if not hasattr(host, name)]
