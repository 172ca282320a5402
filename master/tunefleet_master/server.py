"""The web server: it starts on a socket that is already bound, and stops within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from tunefleet.errors import Conflict, TunefleetError

STOP_WITHIN_S = 3  # running uploads are cut after this time; clients resume them at the next master

# Longer than the interval of heartbeats, and than load balancers (60 s) keep an idle connection: the end that closes
# first may cut a request in transit.
KEEP_ALIVE_S = 75

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """A server that calls back when it listens and when it begins to stop."""

    def __init__(self, config: uvicorn.Config, *, listening: Callable[[], None], closing: asyncio.Event) -> None:
        super().__init__(config)
        self._listening = listening
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        _freeze_objects()
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End waiting requests, then close the connections."""
        self._closing.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and return; uvicorn would raise the signal again, before the database is closed."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket to the address, without listening.

    Raises:
        Conflict: the port is in use. TunefleetError: the address is not available.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise _unbound(host, port, error) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL of the socket on this machine."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, bound: socket.socket, *, listening: Callable[[], None]) -> None:
    """Run `serve` on the fastest event loop that is installed."""
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(serve(app, bound, listening=listening))


async def serve(app: FastAPI, bound: socket.socket, *, listening: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; errors at the start of the application are raised."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    async with app.router.lifespan_context(app):
        server = Server(config, listening=listening, closing=app.state.services.closing)
        try:
            await server.serve([bound])
        except OSError as error:  # another program began to listen on the port since `bind`
            host, port = bound.getsockname()[:2]
            raise _unbound(host, port, error) from error


def _freeze_objects() -> None:
    """Exclude the objects of the start from garbage collection, because they stay.

    Otherwise every full collection visits a few hundred thousand objects of modules, types and statements. The
    collector may be off until then, so that it does not visit them many times during the imports.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # not available on Windows
        return None
    return uvloop.new_event_loop


def _unbound(host: str, port: int, error: OSError) -> TunefleetError:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"port {port} on {host} is in use.", hint="Choose another one with --port, or 0 for any free one."
        )
    return TunefleetError(
        f"cannot listen on {host}, port {port}: {error.strerror}.", hint="Choose another --host or --port."
    )
