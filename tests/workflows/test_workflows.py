"""The workflows: right by actionlint, and calling what any developer calls."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def lint(actionlint: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """Let actionlint look at workflows, and shellcheck at the shell in them."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    command = [str(actionlint), "-no-color", "-shellcheck", str(shellcheck), "-pyflakes", ""]
    return subprocess.run([*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.programs("actionlint")
class TestLint:
    def test_they_are_right(self, program: Callable[[str], Path]) -> None:
        """Neither actionlint nor shellcheck has anything to say."""
        ended = lint(program("actionlint"), *WORKFLOWS)
        assert (0, "") == (ended.returncode, ended.stdout + ended.stderr)

    @pytest.mark.parametrize(
        "right, wrong, said",
        [
            ("runs-on: ubuntu-latest", "runs-on: ubuntu-earliest", "ubuntu-earliest"),
            ('"$GITHUB_OUTPUT"', "$GITHUB_OUTPUT", "SC2086"),
            ("steps.version.outputs", "steps.versions.outputs", "versions"),
        ],
    )
    def test_a_mistake_is_noticed(
        self, program: Callable[[str], Path], tmp_path: Path, right: str, wrong: str, said: str
    ) -> None:
        """A wrong machine, unquoted shell and an unknown step each end it."""
        text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
        assert right in text
        broken = tmp_path / "release.yml"
        broken.write_text(text.replace(right, wrong))
        ended = lint(program("actionlint"), broken)
        assert 1 == ended.returncode
        assert said in ended.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: str(workflow.stem))
def test_make_targets_exist(workflow: Path) -> None:
    """What a workflow asks of make is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", workflow.read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
