"""The server: which address leads to which endpoint, from the start of the program to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from stylebatch.errors import BusyError, StylebatchError
from stylebatch.locking import Log
from stylebatch.page.browse import listing
from stylebatch.page.look import LookEndpoints
from stylebatch.page.openapi import description
from stylebatch.page.replies import answering, failure
from stylebatch.page.security import Guard, token_in
from stylebatch.page.shared import Page, in_thread, query_of
from stylebatch.page.training import TrainingEndpoints
from stylebatch.page.work import WorkEndpoints

_STATIC = Path(__file__).parent / "static"
#: Connections at once; one browser has six and its events.
_MOST_CONNECTIONS = 200


class Connection(H11Protocol):
    """One that is closed if no whole request arrives on it for a while: whoever opens many and sends nothing, or a header
    letter by letter, holds none."""

    patience = 10.0  # seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        self.loop.call_later(self.patience, self._close_if_idle, self.cycle)

    def _close_if_idle(self, last: object) -> None:
        if self.cycle is last and self.conn.our_state is h11.IDLE:
            self.transport.close()


def routes_of(page: Page) -> list[Route]:
    """The HTTP interface."""
    look, work, training = LookEndpoints(page), WorkEndpoints(page), TrainingEndpoints(page)

    async def browse(request: Request) -> Response:
        """What is in a folder under the root, `path`: folders, films, photographs."""
        return JSONResponse(await in_thread(listing, page.root, query_of(request).get("path", "")))

    endpoints = [
        ("GET", "/api/styles", look.styles),
        ("GET", "/api/samples", look.samples),
        ("GET", "/api/samples/{name}", look.sample),
        ("POST", "/api/photos", look.add_photo),
        ("GET", "/api/photos/{id}", look.photo),
        ("GET", "/api/preview", look.preview),
        ("POST", "/api/image", look.image),
        ("GET", "/api/browse", browse),
        ("GET", "/api/options/{kind}", work.options),
        ("POST", "/api/uploads", work.add_upload),
        ("GET", "/api/jobs", work.jobs),
        ("POST", "/api/jobs", work.add_job),
        ("GET", "/api/jobs/{id}", work.job),
        ("DELETE", "/api/jobs/{id}", work.forget_job),
        ("GET", "/api/jobs/{id}/results", work.results),
        ("GET", "/api/jobs/{id}/result", work.result),
        ("GET", "/api/jobs/{id}/zip", work.archive),
        ("POST", "/api/jobs/{id}/{change}", work.change_job),
        ("GET", "/api/events", work.events),
        ("POST", "/api/trainings", training.add_training),
        ("GET", "/api/trainings/{id}/picture", training.picture),
        ("POST", "/api/trainings/{id}/keep", training.keep),
    ]
    return [Route(path, answering(endpoint), methods=[method]) for method, path, endpoint in endpoints]


def application(page: Page, token: str, port: int, host: str = "127.0.0.1") -> ASGIApp:
    """The server as an ASGI application.

    Args:
        host: an address or name that it is reached by, beside those of this machine.
    """
    routes = routes_of(page)

    async def openapi(_request: Request) -> Response:
        """This interface, described as OpenAPI 3.1."""
        return JSONResponse(description(routes))

    async def index(_request: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return failure(error.detail, error.status_code)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(page.queue.run())
        yield
        await page.queue.close()
        await running
        page.drafts.close()
        page.looks.close()
        await page.painter.end()

    everything = [
        *routes,
        Route("/api/openapi.json", openapi),
        Route("/", index),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    app = Starlette(routes=everything, exception_handlers={HTTPException: refused}, lifespan=lifespan)
    return Guard(app, token, port, (host,))


def serve(root: Path, folder: Path, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until the process is told to end.

    Args:
        root: the folder that the page may see.
        folder: where it keeps its token, photographs and jobs; one server at a time.
        host, port: where it listens; port 0 is any that is free.
        ready: called with the address, token included, once it answers.

    Raises:
        StylebatchError: no such folder, the port is taken, or another server has the folder.
    """
    if not root.is_dir():
        raise StylebatchError(f"{root}: no such folder; --root is the one that the page may see")
    try:
        lock = Log(folder / ".lock")
    except BusyError:
        raise StylebatchError(f"{root}: another `stylebatch page` has it; use that one, or end it") from None
    try:
        _serve(Page(root.resolve(), folder), host, port, ready)
    finally:
        lock.close()


def _serve(page: Page, host: str, port: int, ready: Callable[[str], None]) -> None:
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    token = token_in(page.folder / "token")
    config = uvicorn.Config(
        application(page, token, port, host), log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=2, ws="none", http=Connection, limit_concurrency=_MOST_CONNECTIONS,
    )  # fmt: skip
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host

    async def run() -> None:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready(f"http://{shown}:{port}/?token={token}")
        await serving

    with suppress(KeyboardInterrupt), listening:
        asyncio.run(run())


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:  # the system would take the rest of a division
        raise StylebatchError(f"port {port}: must be from 0 to 65535")
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        told = error.strerror if error.errno is None or error.errno < 0 else os.strerror(error.errno)
        raise StylebatchError(f"{host} port {port}: {told}; --port 0 takes any that is free") from None
