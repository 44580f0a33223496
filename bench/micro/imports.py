"""How long it takes from the start of the process to its first call, in cluster."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from bench.environment import make_environment
from bench.process import usage
from bench.report import Figure
from tests.e2e.replica import Replica

ROUNDS = 7


def measure() -> list[Figure]:
    """Seconds from exec to a TCP connection to the API server, and the CPU until then."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as server:
        folder = Path(name)
        python = make_environment(folder, sys.executable)
        ca = folder / "ca.crt"
        ca.write_bytes(
            Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")).read_bytes()
        )
        plane: Any = SimpleNamespace(port=server.getsockname()[1], ca_file=ca)
        times, cpus = [], []
        for number in range(ROUNDS):
            replica = Replica.in_cluster(
                f"replica-{number}",
                plane=plane,
                token="none",
                namespace="default",
                folder=folder,
                env={"PYTHONSAFEPATH": "1", "PYTHONWARNINGS": ""},
                python=python,
            )
            began = time.monotonic()
            replica.start()
            connection, _ = server.accept()
            times.append(time.monotonic() - began)
            cpus.append(usage(replica.process.pid).cpu)
            connection.close()
            replica.kill()
    return [
        Figure("start of the process to the first call", median(times), "s", 0.35),
        Figure("CPU until then", median(cpus), "s"),
    ]
