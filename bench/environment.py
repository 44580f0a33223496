"""The environment that nodeipam is measured in: like the image's, with what it needs to run and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.programs import Unavailable

__all__ = ["ROOT", "make_environment"]

ROOT = Path(__file__).parent.parent
_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def make_environment(folder: Path, python: str) -> Path:
    """Install the locked packages and this tree, as bytecode, below `folder`; returns the interpreter.

    Raises:
        Unavailable: `python` is no interpreter that can make environments.
    """
    # The image has bytecode of everything; without it a start would be measured that compiles 600 modules.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(*argv: str) -> None:
        subprocess.run(argv, cwd=ROOT, env=environ, check=True)

    made, wheels = folder / "python", folder / "wheels"
    target = str(made / "bin" / "python")
    try:
        run(python, "-m", "venv", str(made))
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{python} can't make an environment: {error}") from error
    locked = ("--require-hashes", "--no-deps", "--only-binary=:all:", "-r", "requirements/run.txt")
    run(target, *_PIP, "install", "--no-compile", *locked)
    run(sys.executable, *_PIP, "wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={wheels}", ".")
    run(target, *_PIP, "install", "--no-compile", "--no-deps", *map(str, wheels.glob("*.whl")))
    run(target, "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash", str(made / "lib"))
    return Path(target)
