"""A real Kubernetes control plane for the tests: etcd and kube-apiserver, as processes on loopback."""

from tests.e2e.controlplane.binaries import Binaries, find
from tests.e2e.controlplane.plane import ControlPlane

__all__ = ["Binaries", "ControlPlane", "find"]
