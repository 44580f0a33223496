"""kwok: Nodes that are Ready and send heartbeats, with no machine behind them."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.controlplane import ControlPlane
from tests.e2e.controlplane.processes import Process
from tests.programs import module_file

_MODULE = "sigs.k8s.io/kwok"
_INITIALIZE = "kustomize/stage/node/fast/node-initialize.yaml"
_HEARTBEAT = "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml"

# As they ship, Nodes report their status every 10 minutes.
_OFTEN = {"durationMilliseconds: 600000": "durationMilliseconds: 1000", "610000": "1500"}


@contextmanager
def kwok(program: Path, plane: ControlPlane, folder: Path) -> Generator[Process]:
    """Keep all Nodes alive for as long as this is open."""
    heartbeat = module_file("kwok", _MODULE, _HEARTBEAT)
    for old, new in _OFTEN.items():
        assert old in heartbeat, f"kwok's stage has no {old!r}"
        heartbeat = heartbeat.replace(old, new)
    stages = folder / "stages.yaml"
    stages.write_text("\n---\n".join((module_file("kwok", _MODULE, _INITIALIZE), heartbeat)))
    argv = [
        str(program),
        f"--kubeconfig={plane.kubeconfig('admin')}",
        f"--config={stages}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:0",
    ]
    process = Process("kwok", argv, log=folder / "kwok.log")
    process.start()
    try:
        yield process
    finally:
        process.stop()
