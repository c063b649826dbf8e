"""Whether anybody answers at the address of a Ray cluster, asked before any work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from transferkit.runtime.errors import TransferkitError

SECONDS_FOR_AN_ANSWER = 5.0  # Ray itself asks for minutes


def require_answer(address: str) -> None:
    """Refuse a cluster at an address where nobody listens.

    Args:
        address: host:port or ray://host:port; nothing is asked where Ray has to find the cluster by itself.

    Raises:
        TransferkitError: If nobody does, or if it is no such address.
    """
    if address in ("", "auto", "local") or ("://" in address and not address.startswith("ray://")):
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host, port = None, None
    if not host or not port:
        raise TransferkitError(f"RAY_ADDRESS is {address!r}. Expected host:port, ray://host:port, auto or local.")
    try:
        socket.create_connection((host, port), SECONDS_FOR_AN_ANSWER).close()
    except OSError as error:
        raise no_cluster(address, error.strerror or str(error)) from error


def no_cluster(address: str, why: str) -> TransferkitError:
    """That nobody answers at an address, and what to type."""
    return TransferkitError(
        f"No Ray cluster answers at RAY_ADDRESS={address} ({why}). Start it with `ray start --head`, correct the "
        "address, or unset RAY_ADDRESS to use this machine alone."
    )


@contextmanager
def joining(address: str) -> Iterator[None]:
    """Inside, Ray is started or joined; what it says where it finds no cluster becomes a message.

    Raises:
        TransferkitError: In place of Ray's error.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise no_cluster(address, why) from error
