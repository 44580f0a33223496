"""The test kit: an event loop in virtual time and an in-memory API server, for tests of any controller.

def test_something():
    server = APIServer()
    server.register("example.com/v1", "Widget", "widgets", namespaced=True, status=True)
    client = Client(ModelTransport(server, identity="me"), clock=VirtualClock(), ...)
    run_virtual(...)
"""

from .apiserver import APIServer, Logged
from .faults import Fault, Requests
from .hosts import Host, current_host, outside
from .http import HTTPServer
from .links import Link
from .loop import Deadlock, VirtualClock, VirtualLoop, run_virtual
from .transport import ModelTransport

__all__ = [
    "APIServer",
    "Deadlock",
    "Fault",
    "HTTPServer",
    "Host",
    "Link",
    "Logged",
    "ModelTransport",
    "Requests",
    "VirtualClock",
    "VirtualLoop",
    "current_host",
    "outside",
    "run_virtual",
]
