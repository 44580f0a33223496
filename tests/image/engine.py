"""podman, where there is neither a daemon nor a registry: the base of an image is made on the spot.

Nothing is shared with the machine's own podman: images and containers are in a folder of their own. The base
is kept between runs, outside the tree, since Debian's packages take half a minute.
"""

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BASE = "localhost/base:test"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
MARKER = "# only a build may see this\n"
EPOCH = 1_750_000_000  # seconds since 1970: every file of a built image is of then

# A release with Python 3.11 or later, and the packages that the Dockerfile would install.
_RELEASE = "trixie"
_PACKAGES = ("python3-venv", "ca-certificates")

# No cgroups: a container in a container mostly has none that it could write to.
_CONTAINERS = """
[containers]
cgroups="disabled"
default_ulimits=["nofile=1024:1024","nproc=1024:1024"]
[engine]
runtime="crun"
cgroup_manager="cgroupfs"
events_logger="file"
"""

# podman wants to see cgroup 2, which the machine may not show; in a mount namespace of its own nobody minds.
_WITH_CGROUPS = 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'


class Failed(Exception):
    """podman ended with an error; the message is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A container that ran to its end."""

    code: int
    output: str


class Container:
    """A container that was started; see `Engine.start`."""

    def __init__(self, engine: "Engine", name: str) -> None:
        self.name = name
        self._engine = engine

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._engine.podman("logs", self.name, merge=True)

    @property
    def state(self) -> Mapping[str, Any]:
        """What podman knows of it."""
        (known,) = json.loads(self._engine.podman("inspect", self.name))
        return dict(known)

    def execute(self, *argv: str) -> str:
        """What a program in the container prints."""
        return self._engine.podman("exec", self.name, *argv)

    def kill(self) -> None:
        """SIGKILL: no time for anything."""
        self._engine.podman("kill", self.name)

    def stop(self, *, seconds: int = 30) -> int:
        """SIGTERM, and SIGKILL after so many seconds. Returns the exit code."""
        self._engine.podman("stop", f"--time={seconds}", self.name)
        return int(self._engine.podman("wait", self.name))

    def start(self) -> None:
        """Start it again, as a kubelet does when it has ended."""
        self._engine.podman("start", self.name)


class Engine:
    """The podman `program`, with its storage in `folder`; `close` ends the containers that were started."""

    def __init__(self, program: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._program = program
        self._folder = folder
        self._started: list[str] = []
        self.certificates = folder / "certificates.pem"
        """What a build gets as its secret: the machine's, with a line that is found nowhere else."""
        self.certificates.write_bytes(CA_BUNDLE.read_bytes() + MARKER.encode())
        storage = f'[storage]\ndriver="overlay"\ngraphroot="{folder}/graph"\nrunroot="{folder}/run"\n'
        (folder / "storage.conf").write_text(storage)
        (folder / "containers.conf").write_text(_CONTAINERS)
        self._env = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }

    def podman(self, *arguments: str, merge: bool = False) -> str:
        """What podman prints, on stdout alone unless `merge`.

        Raises:
            Failed: it ended with an exit code other than 0.
        """
        ended = self._run(arguments, merge=merge)
        if ended.returncode != 0:
            raise Failed(f"podman {' '.join(arguments)}\n{ended.stdout}{ended.stderr or ''}")
        return str(ended.stdout).strip()

    def wrapper(self) -> str:
        """A program for shell scripts that is this podman."""
        variables = [f"{name}={self._env[name]}" for name in ("CONTAINERS_STORAGE_CONF", "CONTAINERS_CONF")]
        command = shlex.join(["env", "BUILDAH_ISOLATION=chroot", *variables, *_shell(), str(self._program)])
        return f'#!/bin/sh\nexec {command} "$@"\n'

    def make_base(self) -> None:
        """Have the image `BASE`: the release's smallest system with Python."""
        if self._run(("image", "exists", BASE)).returncode != 0:
            self.podman("import", "--quiet", str(_base_archive()), BASE)

    def build(
        self, tag: str, *, dockerfile: Path | None = None, context: Path = ROOT, cached: bool = False
    ) -> str:
        """Build the image as the Dockerfile has it, and return its id.

        `cached`: steps that were done before are kept, files of another time among them.

        Raises:
            Failed: it can't be built.
        """
        flags = ["--isolation=chroot", "--network=host", f"--timestamp={EPOCH}"]
        flags += [f"--build-arg=BASE_IMAGE={BASE}", f"--secret=id=ca,src={self.certificates}"]
        flags += [] if cached else ["--no-cache"]
        file = dockerfile or context / "Dockerfile"
        self.podman("build", *flags, f"--file={file}", f"--tag={tag}", str(context))
        return self.podman("inspect", "--format={{.Id}}", tag)

    def run(self, tag: str, *arguments: str, flags: Sequence[str] = ()) -> Ended:
        """Run a container to its end."""
        ended = self._run(("run", "--rm", *flags, tag, *arguments), merge=True)
        return Ended(code=ended.returncode, output=ended.stdout)

    def start(self, name: str, tag: str, *arguments: str, flags: Sequence[str] = ()) -> Container:
        """Start a container and leave it running."""
        self.podman("run", "--detach", f"--name={name}", *flags, tag, *arguments)
        self._started.append(name)
        return Container(self, name)

    def close(self) -> None:
        """End and remove every container that was started."""
        if self._started:
            self.podman("rm", "--force", "--time=0", *self._started)
            self._started.clear()

    def destroy(self) -> None:
        """Remove everything, images included."""
        self.close()
        self._run(("unmount", "--all", "--force"))
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, arguments: Sequence[str], *, merge: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*_shell(), str(self._program), *arguments],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            text=True,
            check=False,
        )


def _shell() -> list[str]:
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", _WITH_CGROUPS, "sh"]


def _base_archive() -> Path:
    """The archive of the base image, made if it isn't there yet."""
    key = hashlib.sha256(f"{_RELEASE} {_PACKAGES}".encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nodeipam"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"base-{key}.tar"
    with (cache / "base.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once make it once
        if not archive.exists():
            unfinished = archive.with_suffix(".unfinished.tar")
            lists = 'rm -rf "$1"/var/lib/apt/lists/* "$1"/etc/apt/sources.list.d/*'
            packages = f"--include={','.join(_PACKAGES)}"
            argv = ["mmdebstrap", "--variant=minbase", packages, f"--customize-hook={lists}"]
            made = subprocess.run(
                [*argv, _RELEASE, str(unfinished)], capture_output=True, text=True, check=False
            )
            if made.returncode != 0:
                raise Failed(f"mmdebstrap {_RELEASE}:\n{made.stderr[-3000:]}")
            unfinished.rename(archive)
    return archive
