"""The programs that tests run: built once from Go modules, or found among what the machine has.

What was built is kept outside the tree, under a key of everything that the build depends on, so a second
clone finds it and a changed version builds anew. `python -m tests.programs NAME` prints where one is.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BUILT", "INSTALLED", "Unavailable", "module_file", "provide"]

MODULES = Path(__file__).parent

# The flags are part of Go's own cache key: whoever builds these modules by hand should use the same.
FLAGS = ("-trimpath", "-buildvcs=false")


class Unavailable(Exception):
    """A program can't be had on this machine; the message says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Go program: the folder of its module here, the package, and how long a first build takes."""

    module: str
    package: str
    takes: str


BUILT: Mapping[str, Program] = {
    "kube-apiserver": Program(
        module="kubernetes", package="k8s.io/kubernetes/cmd/kube-apiserver", takes="4 minutes"
    ),
    "kubectl": Program(module="kubernetes", package="k8s.io/kubernetes/cmd/kubectl", takes="20 seconds"),
    "kube-controller-manager": Program(
        module="kubernetes", package="k8s.io/kubernetes/cmd/kube-controller-manager", takes="a minute"
    ),
    "etcd": Program(module="etcd", package="go.etcd.io/etcd/server/v3", takes="20 seconds"),
    "helm4": Program(module="helm4", package="helm.sh/helm/v4/cmd/helm", takes="a minute"),
    "helm3": Program(module="helm3", package="helm.sh/helm/v3/cmd/helm", takes="a minute"),
    "helm-unittest": Program(
        module="helm-unittest",
        package="github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
        takes="a minute",
    ),
    "kwok": Program(module="kwok", package="sigs.k8s.io/kwok/cmd/kwok", takes="a minute"),
    "actionlint": Program(
        module="actionlint", package="github.com/rhysd/actionlint/cmd/actionlint", takes="10 seconds"
    ),
}

INSTALLED: Mapping[str, str] = {
    "podman": "podman crun conmon",
    "mmdebstrap": "mmdebstrap",
    "promtool": "prometheus",
}
"""Programs that Debian has, with the packages they are in."""


def provide(name: str, say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> Path:
    """Find a program, or build it; `say` is told of a build before it starts, since it takes a while.

    Raises:
        Unavailable: it isn't installed, there is no Go to build it with, or the build fails.
    """
    if name in INSTALLED:
        found = shutil.which(name, path=environ.get("PATH"))
        if found is None:
            raise Unavailable(f"no {name}: apt-get install {INSTALLED[name]}")
        return Path(found)
    go = shutil.which("go", path=environ.get("PATH"))
    if go is None:
        raise Unavailable(f"no {name}: install Go to build it")
    return _build(go, name, environ, say)


def module_file(name: str, package: str, path: str) -> str:
    """A text file of a module that the program `name` is built with, such as the data it ships with."""
    downloaded = subprocess.run(
        ["go", "mod", "download", "-json", package],
        cwd=MODULES / BUILT[name].module,
        env=_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    return (Path(json.loads(downloaded.stdout)["Dir"]) / path).read_text()


def _build(go: str, name: str, environ: Mapping[str, str], say: Callable[[str], None]) -> Path:
    program = BUILT[name]
    module = MODULES / program.module
    requirement = (module / "go.mod").read_text()
    flags = [*FLAGS, f"-ldflags={_ldflags(program)}"]
    key = hashlib.sha256("\0".join([requirement, (module / "go.sum").read_text(), *flags]).encode())
    folder = _cache(environ) / f"{name}-{key.hexdigest()[:12]}"
    target = folder / name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once build it once
        if target.exists():
            return target
        say(f"building {name}, once (about {program.takes} on two cores)")
        unfinished = folder / "unfinished"
        result = subprocess.run(
            [go, "build", *flags, "-o", str(unfinished), program.package],
            cwd=module,
            env=_environment(environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise Unavailable(f"go build {program.package} failed:\n{result.stderr[-2000:]}")
        unfinished.rename(target)
    return target


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _ldflags(program: Program) -> str:
    """What the projects' own builds write into their programs: the Kubernetes version that they are for.

    Without it the API server takes itself for v0.0.0 and refuses its own feature gates, and helm 3 renders
    for Kubernetes 1.20.
    """
    requirement = (MODULES / "kubernetes" / "go.mod").read_text()
    version = re.search(r"\bk8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", requirement)
    if version is None:
        raise Unavailable(f"{MODULES / 'kubernetes' / 'go.mod'} requires no k8s.io/kubernetes")
    stamps = {
        "kubernetes": {"k8s.io/component-base/version.gitVersion": version[1]},
        "helm3": {
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": version[2],
            "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": version[3],
        },
    }
    stamped = stamps.get(program.module, {})
    return " ".join(["-s -w", *(f"-X {variable}={text}" for variable, text in stamped.items())])


def _cache(environ: Mapping[str, str]) -> Path:
    root = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "nodeipam" / "programs"
