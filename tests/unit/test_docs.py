"""What the pages for embedders say, held against the code."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nodeipam import runtime
from nodeipam.testing import APIServer
from tests.conformance import document

from .bridge import bridge, kubeconfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runtime.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
ROW = re.compile(r"^\| (?:`(\w+)`)? ?\| `(\w+)` \| `(.+?)` \|", re.MULTILINE)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The page's programs, each imported from a file of its name."""
    for name, text in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield {name: importlib.import_module(name) for name in PROGRAMS}
    for name in PROGRAMS:
        del sys.modules[name]


def test_the_pages_test_passes(programs: dict[str, ModuleType]) -> None:
    """The test that the page shows passes on the controller that it shows."""
    tests = [
        function for name, function in vars(programs["test_widgets"]).items() if name.startswith("test_")
    ]
    assert 1 == len(tests)
    tests[0]()


async def test_the_pages_program_runs(
    programs: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that the page shows works over HTTP, with a kubeconfig, and releases its lease."""
    server = APIServer()
    server.register("example.com/v1", "Widget", "widgets", namespaced=True, status=True)
    server.put(
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}}
    )

    async def work() -> None:
        while "status" not in server.get("widgets.example.com", "w", namespace="default"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    async with bridge(server) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", address)))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        await programs["widgets"].main(work())
    assert {"ready": True} == server.get("widgets.example.com", "w", namespace="default")["status"]
    (lease,) = server.objects("leases.coordination.k8s.io")
    assert "" == lease["spec"]["holderIdentity"]


def test_the_defaults_are_right() -> None:
    """Each row of the table of options names an option that exists, and its default."""
    told: list[tuple[str, str, Any]] = []
    of = ""
    for owner, option, default in ROW.findall(PAGE):
        of = owner or of
        told.append((of, option, ast.literal_eval(default)))
    assert 15 < len(told)
    found = [
        (of, option, inspect.signature(getattr(runtime, of)).parameters[option].default)
        for of, option, _ in told
    ]
    assert found == told


def test_the_names_are_right() -> None:
    """Every public-looking name that the page sets in code type with a capital is one of the runtime's."""
    named = set(re.findall(r"`([A-Z][a-z]\w+)(?:\(.*?\))?`", PAGE))
    known = {*runtime.__all__, "Fault", "None", "True", "CancelledError", "Retry"}
    assert set() == named - known


def test_each_dependency_has_its_reason() -> None:
    """The page of dependencies lists just those that are declared, those of the extra last."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = sorted(project["dependencies"]) + project["optional-dependencies"]["demo"]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    listed = [name for name in re.findall(r"^\| ([\w-]+) \|", page, re.MULTILINE) if name != "package"]
    assert [re.split(r"[<>=]", text)[0] for text in declared] == listed


def test_the_conformance_page_is_written() -> None:
    """The page of what the model is held to says what the suite's sentences say."""
    found = document.PAGE.read_text(encoding="utf-8")
    assert document.written() == found, "write it anew: python -m tests.conformance.document"
