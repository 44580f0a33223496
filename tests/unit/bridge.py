"""An API server model on a port of this machine, for programs that know nothing of the model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl

from aiohttp import web

from nodeipam.runtime import Call, TransportError
from nodeipam.testing import APIServer, ModelTransport

_LINE = 1 << 24


@asynccontextmanager
async def bridge(server: APIServer) -> AsyncIterator[str]:
    """The address under which `server` is served while the context is open. Who asks is not asked."""
    transport = ModelTransport(server, identity="bridge")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        asked = tuple(parse_qsl(query, keep_blank_values=True))
        watch = bool({("watch", "1"), ("watch", "true"), ("watch", "True")} & set(asked))
        call = Call(
            method=request.method,
            path=path,
            query=asked,
            headers=request.headers,
            body=await request.read() or None,
            timeout=60.0,
            idle=3600.0 if watch else None,
        )
        async with transport.open(call) as answer:
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            try:
                while line := await answer.readline(_LINE):
                    await response.write(line)
            except (TransportError, ConnectionError):
                request.protocol.force_close()  # what breaks off here breaks off there
            else:
                await response.write_eof()
            return response

    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        server.close_watches()
        await runner.cleanup()


def kubeconfig(path: Path, address: str) -> Path:
    """Write a kubeconfig for this address, and return its path."""
    path.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: model
contexts: [{{name: model, context: {{cluster: model, user: nobody}}}}]
clusters: [{{name: model, cluster: {{server: "{address}"}}}}]
users: [{{name: nobody, user: {{token: none}}}}]
""",
        encoding="utf-8",
    )
    return path
