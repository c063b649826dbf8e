"""Libraries of the extras, imported where they are needed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from transferkit.runtime.errors import TransferkitError


def pyarrow() -> Any:
    """The library for Parquet.

    Raises:
        TransferkitError: If it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise TransferkitError(
            "A .parquet file needs pyarrow, which is not installed. Type: pip install 'transferkit[parquet]'"
        ) from error
    return pyarrow


def optuna() -> Any:
    """The library that proposes settings.

    Raises:
        TransferkitError: If it is not installed.
    """
    try:
        import optuna as library
    except ImportError as error:
        raise TransferkitError(
            "--search optuna needs optuna, which is not installed. Type: pip install 'transferkit[tune]'"
        ) from error
    return library


def tifffile() -> Any:
    """The library for TIFF of many bands.

    Raises:
        TransferkitError: If it is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise TransferkitError(
            "a TIFF of other bands than red, green and blue needs tifffile, which is not installed; type: pip install "
            "'transferkit[bands]'"
        ) from error
    return tifffile


def require_server() -> None:
    """Refuse to serve where a library for it is missing.

    Raises:
        TransferkitError: Names the extra.
    """
    missing = [name for name in ("starlette", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise TransferkitError(
            f"Serving needs {', '.join(missing)}, which is not installed. Type: pip install 'transferkit[serve]'"
        )
