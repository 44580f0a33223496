"""Mistakes, put into the controller one at a time, to see whether the simulator finds them.

Each is a small patch of a named seam, made in the process that plays the schedules. Those with a D-number are
defects of kubernetes-sigs/node-ipam-controller; the others break a rule of our own.
"""

from . import account, election, fence, pools, runtime, writes
from .registry import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "account", "election", "fence", "pools", "runtime", "writes"]
