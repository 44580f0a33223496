"""The commands of the documentation, and somebody who does as it says."""

import re
from dataclasses import dataclass

from tests.e2e.shown import shell
from tests.image.engine import ROOT

__all__ = ["Operator", "commands"]

# There is nobody here who would make Pods of a Deployment.
CANT_RUN = tuple(f"kubectl --namespace nodeipam {command} " for command in ("rollout status", "logs"))
_COMMAND = re.compile(r"^.*<<'END'\n[\s\S]*?^END$|^.+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at a shell in the root of the tree."""

    env: dict[str, str]

    async def follow(self, page: str, heading: str) -> None:
        """Do as a page of docs/ says under a heading, as far as that can be done here."""
        for command in commands(page, heading):
            await self.do(command)

    async def do(self, command: str) -> str:
        """Run one command, and return what it prints."""
        return await shell(command, env=self.env, folder=ROOT)


def commands(page: str, heading: str) -> list[str]:
    """The commands of the first block under a heading of a page of docs/, as far as they can run here."""
    text = (ROOT / "docs" / page).read_text()
    _, found, behind = text.partition(f"\n{heading}\n")
    assert found, f"docs/{page} has no heading {heading!r}"
    fenced = re.search(r"^```sh\n(.*?)^```$", behind, re.MULTILINE | re.DOTALL)
    assert fenced, f"docs/{page} has no commands behind {heading!r}"
    return [command for command in _joined(fenced[1]) if not command.startswith(CANT_RUN)]


def _joined(block: str) -> list[str]:
    """Each command of a block of shell, with what is handed to it as a document."""
    return _COMMAND.findall(block.replace("\\\n", " "))
