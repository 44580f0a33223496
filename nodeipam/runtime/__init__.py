"""A controller runtime for asyncio: informers, work queues, reconcilers, leader election.

This is the façade: every public name of the runtime, and nothing else. What an application writes is a
reconciler, an async callable that is given a `Request`; what it puts together is a `Manager` with informers
and `Controller`s; what it runs is `Manager.run()`, as a task of its own event loop.
"""

from .client import Body, Client, Page, Pages
from .clock import Clock, Rng, SystemClock, system_rng
from .connect import connect
from .controller import Controller, Reconciler, Result
from .delivery import Handler, Registration
from .election import Election, Elector
from .errors import (
    APIError,
    Cause,
    ConfigurationError,
    CredentialsError,
    KubeError,
    LeadershipLost,
    ListenError,
    ProtocolError,
    QueueShutDown,
    TerminalError,
    TransportError,
)
from .events import EventRecorder, ObjectReference
from .fence import Fence, Refusal, read_barrier
from .health import Check, Checks, HealthError
from .informer import Informer
from .lanes import Lane
from .lease import Lease
from .logs import get_logger
from .manager import Manager, ManagerOptions, Runnable
from .metrics import Metrics
from .objects import HasMetadata, Metadata, ObjectMeta, PartialObject, Request, Resource, version_number
from .ratelimit import Backoff, TokenBucket
from .reflector import ReflectorOptions
from .server import Server
from .slices import Slices
from .source import Source
from .store import Store
from .tasks import TaskScope
from .transport import Answer, Call, Transport
from .workqueue import WorkQueue

__all__ = [
    "APIError",
    "Answer",
    "Backoff",
    "Body",
    "Call",
    "Cause",
    "Check",
    "Checks",
    "Client",
    "Clock",
    "ConfigurationError",
    "Controller",
    "CredentialsError",
    "Election",
    "Elector",
    "EventRecorder",
    "Fence",
    "Handler",
    "HasMetadata",
    "HealthError",
    "Informer",
    "KubeError",
    "Lane",
    "LeadershipLost",
    "Lease",
    "ListenError",
    "Manager",
    "ManagerOptions",
    "Metadata",
    "Metrics",
    "ObjectMeta",
    "ObjectReference",
    "Page",
    "Pages",
    "PartialObject",
    "ProtocolError",
    "QueueShutDown",
    "Reconciler",
    "ReflectorOptions",
    "Refusal",
    "Registration",
    "Request",
    "Resource",
    "Result",
    "Rng",
    "Runnable",
    "Server",
    "Slices",
    "Source",
    "Store",
    "SystemClock",
    "TaskScope",
    "TerminalError",
    "TokenBucket",
    "Transport",
    "TransportError",
    "WorkQueue",
    "connect",
    "get_logger",
    "read_barrier",
    "system_rng",
    "version_number",
]
