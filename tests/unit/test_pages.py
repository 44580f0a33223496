"""The documentation says what holds: its links lead somewhere, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(?:(Test\w+)::)?(test_\w+)`")
WITHOUT = {19, 33, 36, 37, 38, 39, 43, 45, 46, 47, 48, 49, 51, 52}
"""Numbers that were never given."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder that exists, and a heading that is in it."""
    links = [(target, anchor) for target, anchor in LINK.findall(page.read_text()) if "://" not in target]
    assert [] == [target for target, _ in links if not (page.parent / target).exists()]
    assert [] == [
        (target, anchor)
        for target, anchor in links
        if anchor and anchor not in anchors(page.parent / target if target else page)
    ]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["defects.md", "safety.md"])
def test_named_tests_exist(page: str) -> None:
    """Every test that a page names by file and function is there."""
    named = TEST.findall((ROOT / "docs" / page).read_text())
    assert named, f"docs/{page} names no test"
    missing = [
        f"{file}::{name}"
        for file, _, name in named
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert [] == missing


def test_every_defect_has_its_row() -> None:
    """D-01 to D-54 stand in docs/defects.md, each with a test, but for those that were never given."""
    rows = re.findall(r"^\| (D-\d\d) \|.*`tests/", (ROOT / "docs/defects.md").read_text(), re.MULTILINE)
    expected = {f"D-{number:02}" for number in range(1, 55) if number not in WITHOUT}
    assert expected == set(rows)
