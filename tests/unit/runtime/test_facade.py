from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

from nodeipam import runtime

NAMES = [
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
"""The public names, frozen: embedders rely on each of them."""

DOCUMENTED = [name for name in NAMES if inspect.isclass(getattr(runtime, name)) or name.islower()]
ALIASES = {"Body", "Check", "Reconciler"}
"""Names of types that are no classes; the string below their definition says what they are."""


def test_names_are_frozen() -> None:
    """The façade has these names and no others: to add one is a decision, to drop one is a breach."""
    assert NAMES == sorted(runtime.__all__)


def test_nothing_else_is_in_sight() -> None:
    """Besides its names the façade holds nothing but its own modules."""
    others = {name for name in vars(runtime) if not name.startswith("_")} - set(NAMES)
    assert set() == {name for name in others if not inspect.ismodule(getattr(runtime, name))}


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there(name: str) -> None:
    """Every public name can be imported."""
    assert getattr(runtime, name) is not None


def test_imports_nothing_more_than_it_needs() -> None:
    """Importing the runtime imports nothing else of nodeipam, and neither kubernetes_asyncio nor click."""
    program = (
        "import sys, json, nodeipam.runtime; "
        "print(json.dumps([name for name in sys.modules if not name.startswith('nodeipam.runtime')]))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=25)
    modules = json.loads(found.stdout)
    assert ["nodeipam"] == [name for name in modules if name.startswith("nodeipam")]
    assert set() == {"kubernetes_asyncio", "click"} & set(modules)


class TestDocstrings:
    @pytest.mark.parametrize("name", DOCUMENTED)
    def test_of_public_names(self, name: str) -> None:
        """Every public class and function says itself what it is; dataclasses don't say it for it."""
        found = getattr(runtime, name)
        assert (found.__doc__ or "").strip()
        assert not found.__doc__.startswith(f"{name}(")

    def test_nothing_is_left_out(self) -> None:
        """Every name is a class, a function, or one of the type aliases."""
        assert ALIASES == set(NAMES) - set(DOCUMENTED)

    @pytest.mark.parametrize("name", DOCUMENTED)
    def test_of_public_methods(self, name: str) -> None:
        """Every public method and property of a public class has a docstring, perhaps an inherited one."""
        found = getattr(runtime, name)
        silent = [
            member
            for member, value in (vars(found) if inspect.isclass(found) else {}).items()
            if not member.startswith("_")
            and (inspect.isfunction(value) or isinstance(value, property | classmethod))
            and not inspect.getdoc(getattr(found, member))
        ]
        assert [] == silent

    @pytest.mark.parametrize(
        "name", ["Client", "Controller", "Elector", "Fence", "Informer", "Manager", "Server"]
    )
    def test_of_what_can_be_cancelled(self, name: str) -> None:
        """A class whose coroutines run for long says, on itself or on one of them, what a cancel does."""
        found = getattr(runtime, name)
        coroutines = [value for value in vars(found).values() if inspect.iscoroutinefunction(value)]
        texts = [found.__doc__ or "", *(coroutine.__doc__ or "" for coroutine in coroutines)]
        assert any("cancel" in text.lower() for text in texts)

    def test_of_functions_that_can_be_cancelled(self) -> None:
        """So does a public coroutine function."""
        coroutines = [
            getattr(runtime, name) for name in NAMES if inspect.iscoroutinefunction(getattr(runtime, name))
        ]
        assert [runtime.read_barrier] == coroutines
        assert "cancelled" in (runtime.read_barrier.__doc__ or "")
