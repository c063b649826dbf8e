"""What a server answers to a request that it does not carry out."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

RETRY_AFTER = {"Retry-After": "1"}  # seconds; a full queue is answered sooner
CLOSE = {"Connection": "close"}  # the rest of such a request is not read


class Refusal(Exception):
    """A request that is not carried out: status, and words for whoever sent it."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, dict(headers or {})

    @property
    def response(self) -> JSONResponse:
        """As JSON."""
        return JSONResponse({"error": self.words}, self.status, self.headers)


def overloaded(words: str = "Too many images are waiting. Try again.") -> Refusal:
    """503: the request is fine, and may come again."""
    return Refusal(503, words, RETRY_AFTER)
