"""Who may ask, and what is written down of it: never a token, a file's name or an address that is not ours."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transferkit.deploy.serving.meters import Meters
from transferkit.deploy.serving.refusals import Refusal
from transferkit.deploy.serving.settings import ServeSettings, is_loopback

OTHER = "other"  # any path that is not ours
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}
FOREIGN = {"cross-site", "same-site"}  # of Sec-Fetch-Site: a page of somebody else asks
PROTECTED_BY = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CLIENT_LEFT = 499  # as nginx counts it


class Gate:
    """Lets through who may ask, and writes one line per request.

    Attributes:
        application: Behind it.
        open_paths: By path, whether it is open without a token.
        log: Takes a line.
    """

    def __init__(
        self,
        application: ASGIApp,
        settings: ServeSettings,
        open_paths: Mapping[str, bool],
        meters: Meters,
        log: Callable[[str], None],
    ) -> None:
        self.application, self.settings, self.meters, self.log = application, settings, meters, log
        self.open_paths = open_paths
        self._names = LOOPBACK_NAMES | {settings.host.lower(), f"[{settings.host.lower()}]"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        started, status = time.perf_counter(), CLIENT_LEFT

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(PROTECTED_BY)
            await send(message)

        try:
            await self._answer(scope, receive, sent)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self.require_welcome(scope)
            await self.application(scope, receive, send)
        except Refusal as refusal:
            await refusal.response(scope, receive, send)
        except Exception:  # a fault, answered and written down already
            return

    def require_welcome(self, scope: Scope) -> None:
        """Refuse other sites' pages, and whoever lacks the token.

        A page from elsewhere may give its own name to 127.0.0.1 (DNS rebinding), so names are checked; and it may send
        forms here, which a browser marks.

        Raises:
            Refusal: 400, 401 or 403.
        """
        headers = Headers(scope=scope)
        if is_loopback(self.settings.host) and _name(headers.get("host", "")) not in self._names:
            raise Refusal(400, "This server answers to localhost and 127.0.0.1 only.")
        if scope["method"] == "POST" and headers.get("sec-fetch-site") in FOREIGN:
            raise Refusal(403, "Pages of other sites may not ask this server.")
        if not self.open_paths.get(scope["path"], False) and not self._has_token(headers):
            raise Refusal(401, "A token is needed: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})

    def _has_token(self, headers: Headers) -> bool:
        token = self.settings.token
        if not token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self.open_paths else OTHER
        self.meters.request(path, status, seconds)
        client = scope.get("client")
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else OTHER
        self.log(f"{client[0] if client else '-'} {method} {path} {status} {1000 * seconds:.0f} ms")


def _name(host: str) -> str:
    """Of a Host header, without the port.

    Example:
        >>> _name("localhost:8000"), _name("[::1]:8000"), _name("127.0.0.1")
        ('localhost', '[::1]', '127.0.0.1')
    """
    end = host.rfind(":")
    return (host[:end] if end > host.rfind("]") else host).lower()
