"""docs/reference.md says what the code does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from nodeipam.testing import run_virtual
from tests.reference.document import CONDITIONS, EVENTS, PAGE, PROBES, manager, written

CONTROLLERS = Path(__file__).parents[2] / "nodeipam" / "controllers"


def calls(name: str) -> Iterator[list[str]]:
    """The texts among the arguments of each call of a function or method of this name."""
    for path in CONTROLLERS.glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text())):
            if not isinstance(found, ast.Call):
                continue
            called = (
                found.func.attr if isinstance(found.func, ast.Attribute) else getattr(found.func, "id", "")
            )
            if called == name:
                texts = (each.value for each in found.args if isinstance(each, ast.Constant))
                yield [text for text in texts if isinstance(text, str)]


def test_the_page_is_up_to_date() -> None:
    """Run `make docs` where it isn't."""
    assert written() == PAGE.read_text(encoding="utf-8")


def test_every_event_is_there() -> None:
    """Each reason that an event is sent for is in the table, and no other."""
    reasons = {texts[0] for texts in calls("warn") if texts and texts[0][0].isupper() and " " not in texts[0]}
    assert set(EVENTS) == reasons


def test_every_condition_is_there() -> None:
    """Each condition that is ever set is in the table, and no other."""
    assert set(CONDITIONS) == {(texts[0], texts[1], texts[2]) for texts in calls("Condition")}


def test_every_check_is_there() -> None:
    """The probes ask what the table says."""
    controller = manager()
    for (_, _, named), checks in zip(PROBES, (controller.liveness, controller.readiness), strict=True):
        report = run_virtual(checks.report(verbose=True))
        assert named.split(", ") == re.findall(r"^\[.\]([\w.-]+)", report.text, re.MULTILINE)
