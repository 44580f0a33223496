"""Where kube-apiserver, etcd and kubectl come from: a folder that KUBEBUILDER_ASSETS names, or a Go build."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.programs import Unavailable, provide

NAMES = ("kube-apiserver", "kubectl", "etcd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The programs of a control plane."""

    apiserver: Path
    etcd: Path
    kubectl: Path | None


def find(say: Callable[[str], None], environ: Mapping[str, str] = os.environ) -> Binaries:
    """Find the programs, or build them; `say` is told of each build before it starts, since it takes minutes.

    Raises:
        Unavailable: neither KUBEBUILDER_ASSETS nor Go is there, or one of them doesn't give what it should.
    """
    if assets := environ.get("KUBEBUILDER_ASSETS"):
        return _from_assets(Path(assets))
    try:
        found = {name: provide(name, say, environ) for name in NAMES}
    except Unavailable as reason:
        raise Unavailable(
            f"{reason}, or let KUBEBUILDER_ASSETS name a folder with kube-apiserver and etcd"
        ) from None
    return Binaries(apiserver=found["kube-apiserver"], etcd=found["etcd"], kubectl=found["kubectl"])


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
