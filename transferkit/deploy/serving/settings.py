"""How a server answers: where it listens, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from transferkit.metrics.thresholds import ACCEPTANCE
from transferkit.runtime.errors import TransferkitError

SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Limits:
    """What a server refuses, so that no request can exhaust it.

    Attributes:
        megabytes: Of one request.
        megapixels: Of one image, by its header, before it is decoded.
        images: Of one request.
        seconds: For a request to arrive, and again to be answered.
        waiting: Images in work at once; a request that brings more is told to come again.
    """

    megabytes: float = 20.0
    megapixels: float = 25.0
    images: int = 32
    seconds: float = 30.0
    waiting: int = 256

    @property
    def bytes(self) -> int:
        """Of one request."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Of one image."""
        return int(self.megapixels * 1e6)


@dataclass(frozen=True)
class ServeSettings:
    """Where and how a run is served.

    Attributes:
        host: An address or name of this machine.
        port: 0 takes a free one.
        token: What a request must carry; empty asks for none.
        acceptance: Share of familiar images that must not be rejected as unknown, in [0.5, 1].
        explains: Whether a request may ask for similar training images and the regions that supported the prediction.
        limits: What is refused.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    acceptance: float = ACCEPTANCE
    explains: bool = True
    limits: Limits = Limits()

    def require_guarded(self) -> None:
        """Refuse to be open to others without a token, and a token that is easily guessed or no header can hold.

        Raises:
            TransferkitError: Says how to give one.
        """
        advice = (
            "Put one of at least 16 characters into the environment variable TRANSFERKIT_TOKEN or a file "
            "(--token-file): "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
        if not self.token and not is_loopback(self.host):
            raise TransferkitError(f"--host {self.host} is open to other machines, and there is no token. {advice}")
        if self.token and (len(self.token) < SHORTEST_TOKEN or not all("!" <= sign <= "~" for sign in self.token)):
            raise TransferkitError(f"The token is too short, or not of plain letters, digits and signs. {advice}")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach it.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org", "")]
        [True, True, True, False, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
