"""Shows below the results what was played."""

from collections.abc import Callable

import pytest

_lines = pytest.StashKey[list[str]]()


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """What is said is shown at the end, whether or not the tests pass."""
    return pytestconfig.stash.setdefault(_lines, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show it."""
    for line in config.stash.get(_lines, []):
        terminalreporter.write_line(line)
