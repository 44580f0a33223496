"""Rights: what roles grant, and what ServiceAccounts asked for."""

from collections.abc import Iterable

from tests.e2e.audit import Audit
from tests.e2e.kube import Object

Right = tuple[str, str, str]
"""Group, resource and verb."""


def asked(audit: Audit, *, allowed: bool) -> list[Right]:
    """What ServiceAccounts asked for, each time, and were allowed or forbidden."""
    return [
        (entry.group, entry.resource, entry.verb)
        for entry in audit.entries()
        if entry.user.startswith("system:serviceaccount:") and entry.allowed == allowed
    ]


def granted(objects: Iterable[Object]) -> set[Right]:
    """All rights that the roles among these objects give."""
    return {
        (group, resource, verb)
        for body in objects
        if body["kind"] in ("Role", "ClusterRole")
        for rule in body["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
