"""helm, as a program that renders this chart."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts" / "node-ipam-controller"
RELEASE = "node-ipam-controller"
NAMESPACE = "nodeipam"

Object = dict[str, Any]
Values = Mapping[str, Any]


class Refused(Exception):
    """helm ended with an error; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """One helm program."""

    program: Path

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> str:
        """What it prints.

        Raises:
            Refused: it ended with an exit code other than 0.
        """
        ended = subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, check=False, env=env
        )
        if ended.returncode != 0:
            raise Refused(f"{ended.stdout}\n{ended.stderr}".strip())
        return ended.stdout

    def render(self, values: Values, folder: Path) -> list[Object]:
        """The objects that this chart makes of these values, in the documented release."""
        rendered = self.run(
            "template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", values_file(values, folder)
        )
        return [body for body in yaml.safe_load_all(rendered) if body is not None]


def values_file(values: Values, folder: Path) -> Path:
    """A file with these values, in this folder."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(dict(values)))
    return path


def by_kind(objects: list[Object], kind: str) -> list[Object]:
    """Those of a kind."""
    return [body for body in objects if body["kind"] == kind]
