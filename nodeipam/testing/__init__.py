"""The test kit: an event loop in virtual time and an in-memory API server, for tests of any controller.

def test_something():
    server = APIServer()
    server.register("example.com/v1", "Widget", "widgets", namespaced=True, status=True)
    client = Client(ModelTransport(server, identity="me"), clock=VirtualClock(), ...)
    run_virtual(...)
"""

from .apiserver import APIServer, Logged
from .faults import Fault
from .loop import Deadlock, VirtualClock, VirtualLoop, run_virtual
from .transport import ModelTransport

__all__ = [
    "APIServer",
    "Deadlock",
    "Fault",
    "Logged",
    "ModelTransport",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]
