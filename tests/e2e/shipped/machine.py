"""The network of a machine of its own for one Pod in the host's network: `Machine`.

Two replicas want the same port of their Nodes, so each gets a network namespace. A process inside keeps it,
and carries bytes two ways over Unix sockets: from the API server's address to the API server, and from the
test, which stands for the kubelet, to a port of the Pod.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import aiohttp

from tests.e2e.controlplane.processes import Process

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Machine:
    """A network namespace with a loopback device, from which the API server can be reached.

    Args:
        name: of the Node that it stands for.
        api: the port of the API server, on 127.0.0.1 both outside and inside.
        probed: the port of the Pod that `get` asks.
        folder: an empty folder for its sockets; Unix limits the length of its name.
    """

    def __init__(self, name: str, *, api: int, probed: int, folder: Path) -> None:
        self.name = name
        self._api = api
        self._api_socket, self._probe_socket = folder / "api", folder / "probe"
        inside = [sys.executable, "-m", __name__, str(api), str(probed)]
        self._process = Process(
            name,
            ["unshare", "--net", *inside, str(self._api_socket), str(self._probe_socket)],
            log=folder / "log",
        )

    @property
    def namespace(self) -> str:
        """The path of the network namespace, for a container to join."""
        return f"/proc/{self._process.pid}/ns/net"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the machine for as long as this is open."""

        async def to_api() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", self._api)

        async with await asyncio.start_unix_server(_carrier(to_api), self._api_socket):
            self._process.start()
            try:
                async with asyncio.timeout(10.0):
                    while not self._probe_socket.exists():  # noqa: ASYNC110 - nothing tells
                        await asyncio.sleep(0.02)
                yield
            finally:
                self._process.stop()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of what the Pod answers; 0 if nobody listens."""
        connector = aiohttp.UnixConnector(str(self._probe_socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(5.0)) as session,
                session.get(f"http://{self.name}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""


def _carrier(connect: Connect) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What to do with a connection: carry its bytes to another one, and back."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await connect()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    return carry


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _inside(api: int, probed: int, api_socket: str, probe_socket: str) -> None:
    async def to_api() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(api_socket)

    async def to_pod() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", probed)

    async with (
        await asyncio.start_server(_carrier(to_api), "127.0.0.1", api),
        await asyncio.start_unix_server(_carrier(to_pod), probe_socket),
    ):
        await asyncio.Event().wait()


def _raise_loopback() -> None:
    """Bring the loopback device up, which is down in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


if __name__ == "__main__":
    _raise_loopback()
    asyncio.run(_inside(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
