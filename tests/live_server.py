"""A run behind a real socket, in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from transferkit.deploy.prediction import Model
from transferkit.deploy.serving.application import application
from transferkit.deploy.serving.server import address, listening
from transferkit.deploy.serving.service import service_of
from transferkit.deploy.serving.settings import ServeSettings
from transferkit.runs.run_directory import Run


@contextmanager
def live(run: Run, model: Model, settings: ServeSettings) -> Iterator[str]:
    """Its address."""
    door = listening("127.0.0.1", 0)
    service = application(service_of(run, model, settings), lambda _: None)
    server = uvicorn.Server(uvicorn.Config(service, log_config=None, access_log=False, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield address("127.0.0.1", door)
    finally:
        server.should_exit = True
        thread.join()
