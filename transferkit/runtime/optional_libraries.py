"""Libraries of the extras, imported where they are needed."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any

from transferkit.runtime.errors import TransferkitError


def pyarrow() -> Any:
    """The library for Parquet, with its module `parquet`; raises TransferkitError if it is not installed."""
    require_packages("A .parquet file", ["pyarrow"], "parquet")
    importlib.import_module("pyarrow.parquet")
    return importlib.import_module("pyarrow")


def optuna() -> Any:
    """The library that proposes settings; raises TransferkitError if it is not installed."""
    require_packages("--search optuna", ["optuna"], "tune")
    return importlib.import_module("optuna")


def ray() -> Any:
    """The engine of `--executor ray`; raises TransferkitError if it is not installed."""
    require_packages("--executor ray", ["ray"], "ray")
    return importlib.import_module("ray")


def submitit(cluster: str) -> Any:
    """The library that hands jobs to a cluster.

    Args:
        cluster: `slurm`, or `local` for processes of this machine.

    Raises:
        TransferkitError: If it is not installed, or there is no Slurm here.
    """
    require_packages("--executor slurm", ["submitit"], "slurm")
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise TransferkitError(
            "--executor slurm needs Slurm's command sbatch, which is not here. Type the command on a login node of the "
            "cluster, or use --executor processes."
        )
    return importlib.import_module("submitit")


def tifffile() -> Any:
    """The library for TIFF of many bands; raises TransferkitError if it is not installed."""
    require_packages("A TIFF of other bands than red, green and blue", ["tifffile"], "bands")
    return importlib.import_module("tifffile")


def require_packages(user: str, packages: Sequence[str], extra: str) -> None:
    """Refuse to go on where a package is missing.

    Args:
        user: What needs them, as the beginning of a sentence.
        packages: Names to import.
        extra: What brings them.

    Raises:
        TransferkitError: Says what is missing and what to type.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise TransferkitError(
            f"{user} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            f'Type: pip install "transferkit[{extra}]"'
        )
