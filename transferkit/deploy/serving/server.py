"""Opens the port, and answers until it is told to stop."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import time
from pathlib import Path

from transferkit.deploy.prediction import load, require_acceptance
from transferkit.deploy.serving.settings import ServeSettings
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import Console, printable
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.optional_libraries import require_packages
from transferkit.runtime.plurals import counted

GRACE_SECONDS = 30  # for requests in work, once it is told to stop
KEEP_ALIVE_SECONDS = 30  # of a connection on which nobody asks; shorter ones close on busy clients


def serve(run: Run | Path | str, settings: ServeSettings, console: Console, device: str = "auto") -> None:
    """Answer requests until SIGTERM or Ctrl-C; those in work are answered first.

    Args:
        run: A finished run, or its folder.
        settings: Where and how.
        console: Hears where it listens.
        device: To compute on.

    Raises:
        TransferkitError: If the port is taken, a token is missing, or there is no such run; before anything is served.
        KeyboardInterrupt: At Ctrl-C, after the last answer.
        SystemExit: At SIGTERM, likewise; exit code 0.
    """
    require_packages("Serving", ["starlette", "uvicorn", "python_multipart"], "serve")
    settings.require_guarded()
    require_acceptance(settings.acceptance)
    previous = signal.signal(signal.SIGTERM, _end)  # uvicorn raises it again once all is answered
    try:
        with listening(settings.host, settings.port) as door:
            _answer(open_run(run), settings, door, console, device)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end(*_: object) -> None:
    """SIGTERM is how a server is meant to end: no failure."""
    raise SystemExit(0)


def _answer(run: Run, settings: ServeSettings, door: socket.socket, console: Console, device: str) -> None:
    import uvicorn

    from transferkit.deploy.serving.application import application
    from transferkit.deploy.serving.service import service_of

    service = service_of(run, load(run, device), settings)
    if words := service.about.no_unknown_because:
        console.line(words)
    console.line(f"Serving {run.path} on {address(settings.host, door)} (stop with Ctrl-C)")
    config = uvicorn.Config(
        application(service, log),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        uvicorn.Server(config).run(sockets=[door])
    finally:
        console.line(f"Stopped after {counted(service.meters.requests, 'request')}.")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; closed by whoever asks.

    Its connections send at once what they are given. asyncio asks for that only where a socket names its protocol, and
    otherwise the body of every answer waits for the receipt of its head, about 40 ms on a connection that stays open.

    Raises:
        TransferkitError: If the port is taken, or the address is not of this machine.
        MachineError: If the system refuses otherwise.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        door = socket.create_server(place[:2], family=family, backlog=512)
    except OSError as error:
        raise _refused(host, port, error) from error
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return door


def _refused(host: str, port: int, error: OSError) -> TransferkitError:
    if error.errno == errno.EADDRINUSE:
        return TransferkitError(f"Port {port} of {host} is in use. Choose another with --port, or 0 for a free one.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return TransferkitError(f"Port {port} is not yours to open. Choose one from 1024 on with --port.")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return TransferkitError(f"--host {host} is no address of this machine. Expected 127.0.0.1, or 0.0.0.0 for all.")
    return MachineError(f"Cannot listen on {host}:{port}: {error.strerror or error}.")


def address(host: str, door: socket.socket) -> str:
    """To type into a browser."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{door.getsockname()[1]}/"


def log(line: str) -> None:
    """One line on stderr, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {printable(line)}", file=sys.stderr, flush=True)
