"""The machine and the libraries that a speed was measured with."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from transferkit.runtime.environment import package_version
from transferkit.runtime.processor import cpu_model, usable_cores

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg", "scikit-learn")


@dataclass(frozen=True)
class Setting:
    """What has to be alike for two measurements to be held against each other."""

    processor: str
    cores: int
    threads: int
    python: str
    packages: dict[str, str]

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        cores = f"{self.cores} core{'s' * (self.cores != 1)}, {self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.processor}, {cores}, Python {self.python}, {versions}"


def setting(threads: int) -> Setting:
    """Of this machine, for so many threads."""
    versions = {name: package_version(name) for name in PACKAGES}
    known = {name: version for name, version in versions.items() if version}
    return Setting(cpu_model(), usable_cores(), threads, platform.python_version(), known)


def load() -> str:
    """How busy the machine is with this and other work."""
    return f"load {os.getloadavg()[0]:.1f}"
