"""Kills a worker in the middle of its work, for tests of what is done about that."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

from transferkit.runtime.locks import HOLDER


class Killer(threading.Thread):
    """Kills the first other process that works in a folder which the pattern finds; `victim` is the folder's name."""

    def __init__(self, folder: Path, pattern: str) -> None:
        super().__init__(daemon=True)
        self.folder, self.pattern, self.victim, self.over = folder, pattern, "", False

    def run(self) -> None:
        while not (self.victim or self.over):
            for note in self.folder.glob(f"{self.pattern}/{HOLDER}"):
                try:
                    worker = json.loads(note.read_text())["pid"]
                except (OSError, ValueError):  # gone, or half written
                    continue
                if worker != os.getpid():
                    self.victim = note.parent.name
                    os.kill(worker, signal.SIGKILL)
                    return
            time.sleep(0.002)
