"""nodeipam: pod address ranges for Kubernetes Nodes, on an asyncio controller runtime of its own.

Importing this package costs nothing: it holds the version only.
"""

__version__ = "0.1.0"
