"""Libraries of the extras, imported where they are needed."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any

from transferkit.runtime.errors import TransferkitError, reason


def pyarrow() -> Any:
    """The library for Parquet, with its module `parquet`; raises TransferkitError if it is not installed."""
    library = _imported("A .parquet file", "pyarrow", "parquet")
    importlib.import_module("pyarrow.parquet")
    return library


def optuna() -> Any:
    """The library that proposes settings; raises TransferkitError if it is not installed."""
    return _imported("--search optuna", "optuna", "tune")


def ray() -> Any:
    """The engine of `--executor ray`; raises TransferkitError if it is not installed."""
    return _imported("--executor ray", "ray", "ray")


def submitit(cluster: str) -> Any:
    """The library that hands jobs to a cluster.

    Args:
        cluster: `slurm`, or `local` for processes of this machine.

    Raises:
        TransferkitError: If it is not installed, or there is no Slurm here.
    """
    library = _imported("--executor slurm", "submitit", "slurm")
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise TransferkitError(
            "--executor slurm needs Slurm's command sbatch, which is not here. Type the command on a login node of the "
            "cluster, or use --executor processes."
        )
    return library


def tifffile() -> Any:
    """The library for TIFF of many bands; raises TransferkitError if it is not installed."""
    return _imported("A TIFF of other bands than red, green and blue", "tifffile", "bands")


def _imported(user: str, package: str, extra: str) -> Any:
    """The package; what the arguments mean is told at `require_packages`.

    Raises:
        TransferkitError: If it is not installed, or is and cannot be imported; says what to type.
    """
    require_packages(user, [package], extra)
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise TransferkitError(
            f"{user} needs {package}, which is installed and cannot be imported ({reason(error)}). "
            f'Type: pip install --force-reinstall "transferkit[{extra}]"'
        ) from error


def require_packages(user: str, packages: Sequence[str], extra: str) -> None:
    """Refuse to go on where a package is missing.

    Args:
        user: What needs them, as the beginning of a sentence.
        packages: Names to import.
        extra: What brings them.

    Raises:
        TransferkitError: Says what is missing and what to type.
    """
    missing = [name for name in packages if not _is_installed(name)]
    if missing:
        raise TransferkitError(
            f"{user} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. "
            f'Type: pip install "transferkit[{extra}]"'
        )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # whoever keeps packages out may raise, or leave None among the modules
        return False
