"""`python -m tests.conformance.document`: writes docs/conformance.md from the sentences of the suite."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PAGE", "written"]

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "conformance.md"
HEAD = """\
# What the API server model is held to

Each line below is a test that asks the model (`nodeipam.testing`) and a real kube-apiserver the same thing
and expects the same answer: `make test` runs both, `pytest tests/conformance -k model` the model alone. Where
they differ, the model is wrong. "So it is" refers to the line before.

This page is written by `python -m tests.conformance.document` from the docstrings of `tests/conformance`, and
a test fails where it doesn't say what they say.
"""


def written() -> str:
    """The page as it should be."""
    return "\n".join([HEAD, *(line for path in sorted(HERE.glob("test_*.py")) for line in _section(path))])


def _section(path: Path) -> Iterator[str]:
    """The tests of one module, class by class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield f"## {path.stem.removeprefix('test_').replace('_', ' ').capitalize()}\n"
    yield "| about | the server's behaviour |"
    yield "|---|---|"
    for group in tree.body:
        if isinstance(group, ast.ClassDef):
            about = _words(group.name.removeprefix("Test"))
            for sentence in _sentences(group):
                yield f"| {about} | {sentence} |"
                about = ""
    yield ""


def _sentences(group: ast.ClassDef) -> Iterator[str]:
    for test in group.body:
        if isinstance(test, ast.AsyncFunctionDef) and test.name.startswith("test_"):
            yield " ".join((ast.get_docstring(test) or test.name).split()).replace("|", "\\|")


def _words(name: str) -> str:
    """CamelCase as words; what is written in capitals stays so."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*", name)
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in words)


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
