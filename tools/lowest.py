"""Print the lowest versions that pyproject.toml allows, as constraints for pip: `python tools/lowest.py`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
BOUND = re.compile(r"([\w.-]+)(?:>=|==)([\w.]+)")


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    """Each requirement with `>=` or `==` at its lowest version.

    Raises:
        ValueError: If one has no such bound, or more than that.

    Example:
        >>> list(lowest(["torch>=2.6", "PyYAML>=6"]))
        ['torch==2.6', 'PyYAML==6']
    """
    for requirement in requirements:
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"{requirement} has no lowest version. Write it as name>=version in {PYPROJECT.name}.")
        yield f"{bound.group(1)}=={bound.group(2)}"


def main() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    print(*lowest(project["dependencies"]), *(line for extra in extras for line in lowest(extra)), sep="\n")


if __name__ == "__main__":
    main()
