"""A stand-in for the Hugging Face hub on the loopback: repositories of files, downloads, and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandIn:
    """What the hub holds, and what it was asked.

    Attributes:
        repositories: Files by repository.
        requests: Method and path of each.
        tokens: The Authorization headers that came.
        gated: A repository that asks for agreement.
        writable: Whether commits are taken.
        private: Of each repository that was created, whether it is.
        validated: Cards whose front matter was sent to be looked at.
    """

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    gated: str = ""
    writable: bool = True
    private: dict[str, bool] = field(default_factory=dict)
    validated: list[str] = field(default_factory=list)

    def downloads(self) -> list[str]:
        """The files that were fetched, by their names."""
        return [entry.rpartition("/")[2] for entry in self.requests if entry.startswith("GET") and "/resolve/" in entry]


def _handler(hub: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._note()
            self._file()

        def do_GET(self) -> None:
            self._note()
            if "/resolve/" in self.path:
                return self._file()
            if self.path.startswith("/api/models/"):
                files = hub.repositories.get(self._repository("/api/models/"))
                if files is None:
                    return self._error(401, "RepoNotFound")
                listing = [
                    {"type": "file", "path": name, "size": len(content), "oid": COMMIT}
                    for name, content in files.items()
                ]
                return self._json(listing)
            return self._error(404, "")

        def do_POST(self) -> None:
            self._note()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/api/repos/create":
                return self._create(json.loads(body))
            if self.path == "/api/validate-yaml":
                hub.validated.append(json.loads(body)["content"])
                return self._json({"errors": [], "warnings": []})
            repository = self._repository("/api/models/")
            if "/preupload/" in self.path:
                wanted = json.loads(body)["files"]
                return self._json(
                    {
                        "files": [
                            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in wanted
                        ]
                    }
                )
            if not hub.writable:
                return self._error(403, "")
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    hub.repositories[repository][entry["value"]["path"]] = content
            return self._json(
                {"commitUrl": f"{hub.address}/{repository}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
            )

        def _create(self, asked: dict[str, Any]) -> None:
            if not self.headers.get("Authorization"):
                return self._error(401, "")
            repository = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if repository in hub.repositories:
                return self._error(409, "")
            hub.repositories[repository] = {}
            hub.private[repository] = asked.get("private") or asked.get("visibility") == "private"
            return self._json({"url": f"{hub.address}/{repository}"})

        def _note(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            hub.tokens.add(self.headers.get("Authorization", ""))

        def _repository(self, prefix: str) -> str:
            return "/".join(self.path.removeprefix(prefix).split("/")[:2]).partition("?")[0]

        def _file(self) -> None:
            repository, _, rest = self.path.removeprefix("/").partition("/resolve/")
            revision, _, name = unquote(rest).partition("/")
            if repository not in hub.repositories:
                return self._error(401, "RepoNotFound")
            if repository == hub.gated:
                return self._error(403, "GatedRepo")
            if revision not in ("main", "v1", COMMIT):
                return self._error(404, "RevisionNotFound")
            content = hub.repositories[repository].get(name)
            if content is None:
                return self._error(404, "EntryNotFound")
            return self._send(
                200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            )

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _error(self, status: int, code: str) -> None:
            self._send(status, b"{}", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def point_at(address: str, patch: pytest.MonkeyPatch) -> None:
    """As HF_ENDPOINT does when huggingface_hub is imported."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@contextmanager
def running(cache: Path, patch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A hub that huggingface_hub takes for the real one, with an empty cache."""
    from huggingface_hub import constants

    from transferkit.models.weights import hub as weights_hub

    hub = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    point_at(hub.address, patch)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.delenv("HF_TOKEN", raising=False)
    weights_hub._commit.cache_clear()
    try:
        yield hub
    finally:
        weights_hub._commit.cache_clear()
        server.shutdown()
        thread.join()
        server.server_close()
