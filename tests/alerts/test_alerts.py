"""The chart's alerts: valid, of metrics that exist, with a runbook each, and firing when they should."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeipam.controllers.poolset import State
from nodeipam.controllers.waiting import Cause
from tests.reference.document import manager, metrics, series

from . import promtool
from .cases import CASES, Case

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
ADDRESS = "https://github.com/nodeipam/nodeipam/blob/main/docs/operations.md#"
VALUES: dict[str, set[str]] = {"cause": set(Cause), "state": set(State), "namespace": {"$namespace"}}


def exposed() -> set[str]:
    """The names of all series that a controller has on `/metrics`."""
    families = metrics(manager().client.metrics.registry)
    return {name for family, _ in families for name in series(family)}


def expressions() -> list[str]:
    """What the alerts and the dashboard ask for."""
    panels = promtool.dashboard()["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*(rule["expr"] for rule in promtool.alerts().values()), *asked]


@pytest.mark.programs("promtool")
class TestRules:
    def test_they_are_valid(self, program: Callable[[str], Path]) -> None:
        """There is nothing to be said about the file."""
        code, said = promtool.run(program("promtool"), "check", "rules", "--lint=all", promtool.RULES)
        assert 0 == code, said

    def test_a_mistake_is_noticed(self, program: Callable[[str], Path], tmp_path: Path) -> None:
        """The check fails for a function that doesn't exist."""
        broken = tmp_path / "rules.yaml"
        broken.write_text(promtool.RULES.read_text().replace("absent(", "absence("))
        code, said = promtool.run(program("promtool"), "check", "rules", broken)
        assert 1 == code
        assert "absence" in said

    @pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.why.replace(' ', '-')}")
    def test_when_it_fires(self, program: Callable[[str], Path], case: Case, tmp_path: Path) -> None:
        """It fires with these labels and this text, or not at all."""
        file = tmp_path / "case.json"
        file.write_text(json.dumps(case.document()))
        code, said = promtool.run(program("promtool"), "test", "rules", file)
        assert 0 == code, said


@pytest.mark.parametrize("name", promtool.alerts())
def test_each_alert_is_tried_both_ways(name: str) -> None:
    """There is a case where it fires, and one where it doesn't."""
    assert {True, False} == {case.fires is not None for case in CASES if case.alert == name}


def test_every_metric_exists() -> None:
    """Alerts and dashboard ask for nothing that the controller doesn't have, nor for labels it never sets."""
    known = exposed()
    for expression in expressions():
        assert promtool.metrics_named(expression)
        assert promtool.metrics_named(expression) <= known, expression
        for label, value in promtool.values_named(expression):
            assert value in VALUES[label], expression


def test_each_alert_has_its_runbook() -> None:
    """The address of each leads to a section, and each section belongs to an alert."""
    sections = set(re.findall(r"^### (NodeIPAM\w+)$", OPERATIONS.read_text(), re.MULTILINE))
    assert set(promtool.alerts()) == sections
    for name, rule in promtool.alerts().items():
        assert ADDRESS + name.lower() == rule["annotations"]["runbook_url"]
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.programs("promtool")
class TestDashboard:
    def test_its_questions_are_valid(self, program: Callable[[str], Path], tmp_path: Path) -> None:
        """Prometheus understands what each panel asks."""
        rules = [
            {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
            for number, expression in enumerate(expressions())
        ]
        file = tmp_path / "rules.json"
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        code, said = promtool.run(program("promtool"), "check", "rules", file)
        assert 0 == code, said

    def test_panels_have_places_of_their_own(self) -> None:
        """None lies over another, and none is wider than the page."""
        taken: set[tuple[int, int]] = set()
        for panel in promtool.dashboard()["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells
