"""A real Kubernetes control plane for the tests: etcd and kube-apiserver, as processes on loopback."""

from tests.e2e.controlplane.binaries import Binaries, Unavailable, provide
from tests.e2e.controlplane.plane import ControlPlane

__all__ = ["Binaries", "ControlPlane", "Unavailable", "provide"]
