"""Where kube-apiserver, etcd and kubectl come from: a folder that KUBEBUILDER_ASSETS names, or a Go build.

What was built is kept outside the tree, under a key of everything that the build depends on, so a second
clone finds it and a changed version builds anew.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent

# The flags are part of Go's own cache key: whoever builds these modules by hand should use the same.
FLAGS = ("-trimpath", "-buildvcs=false")
STRIP = "-s -w"


class Unavailable(Exception):
    """The control plane can't be had on this machine; the message says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The programs of a control plane."""

    apiserver: Path
    etcd: Path
    kubectl: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    name: str
    module: str
    package: str
    minutes: str


_PROGRAMS = (
    _Program(
        name="kube-apiserver",
        module="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-apiserver",
        minutes="4 minutes",
    ),
    _Program(
        name="kubectl", module="kubernetes", package="k8s.io/kubernetes/cmd/kubectl", minutes="20 seconds"
    ),
    _Program(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3", minutes="20 seconds"),
)


def provide(say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> Binaries:
    """Find the programs, or build them; `say` is told of each build before it starts, since it takes minutes.

    Raises:
        Unavailable: neither KUBEBUILDER_ASSETS nor Go is there, or one of them doesn't give what it should.
    """
    if assets := environ.get("KUBEBUILDER_ASSETS"):
        return _from_assets(Path(assets))
    go = shutil.which("go", path=environ.get("PATH"))
    if go is None:
        raise Unavailable(
            "no kube-apiserver: install Go to build it, "
            "or let KUBEBUILDER_ASSETS name a folder with kube-apiserver and etcd"
        )
    built = {program.name: _build(go, program, environ, say) for program in _PROGRAMS}
    return Binaries(apiserver=built["kube-apiserver"], etcd=built["etcd"], kubectl=built["kubectl"])


def _from_assets(folder: Path) -> Binaries:
    for name in ("kube-apiserver", "etcd"):
        if not os.access(folder / name, os.X_OK):
            raise Unavailable(f"KUBEBUILDER_ASSETS={folder} holds no program {name}")
    kubectl = folder / "kubectl"
    return Binaries(
        apiserver=folder / "kube-apiserver",
        etcd=folder / "etcd",
        kubectl=kubectl if kubectl.exists() else None,
    )


def _build(go: str, program: _Program, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    module = MODULES / program.module
    requirement = (module / "go.mod").read_text()
    flags = [*FLAGS, f"-ldflags={_ldflags(program, requirement)}"]
    key = hashlib.sha256("\0".join([requirement, (module / "go.sum").read_text(), *flags]).encode())
    folder = _cache(environ) / f"{program.name}-{key.hexdigest()[:12]}"
    target = folder / program.name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once build it once
        if target.exists():
            return target
        say(f"building {program.name}, once (about {program.minutes} on two cores)")
        unfinished = folder / "unfinished"
        result = subprocess.run(
            [go, "build", *flags, "-o", str(unfinished), program.package],
            cwd=module,
            env={**environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise Unavailable(f"go build {program.package} failed:\n{result.stderr[-2000:]}")
        unfinished.rename(target)
    return target


def _ldflags(program: _Program, requirement: str) -> str:
    if program.module != "kubernetes":
        return STRIP
    version = re.search(
        r"^require k8s\.io/kubernetes (v\S+)|^\tk8s\.io/kubernetes (v\S+)", requirement, re.MULTILINE
    )
    if version is None:
        raise Unavailable(f"{MODULES / program.module / 'go.mod'} requires no k8s.io/kubernetes")
    # Without it the server takes itself for v0.0.0 and refuses its own feature gates.
    return f"{STRIP} -X k8s.io/component-base/version.gitVersion={version[1] or version[2]}"


def _cache(environ: Mapping[str, str]) -> Path:
    root = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "nodeipam" / "controlplane"
