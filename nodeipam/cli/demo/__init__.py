"""`nodeipam demo`: the whole thing on one machine, with an observer who says whether its promise was kept.

The API server is the model of nodeipam.testing over HTTP; the two replicas are processes of the controller as
it is. Invariant: the exit code is 0 only if the observer saw every invariant hold to the end.
"""

from __future__ import annotations

__all__ = ["Options", "demo"]

from .run import Options, demo
