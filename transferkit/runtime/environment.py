"""What a reader needs to repeat a run, as environment.json holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata


@dataclass(frozen=True)
class Environment:
    """Versions and the machine; None where it is not known.

    Attributes:
        python: Its version.
        platform: Operating system and processor family.
        packages: Versions, by name.
        device: The processor or GPU.
        precision: In which networks were asked.
        threads: How many computed, in each process.
        processes: How many took the steps of the training together; None in runs of earlier versions.
    """

    python: str | None = None
    platform: str | None = None
    packages: dict[str, str | None] = field(default_factory=dict)
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    processes: int | None = None


def package_version(name: str) -> str:
    """The installed version of a package, or `not installed`."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
