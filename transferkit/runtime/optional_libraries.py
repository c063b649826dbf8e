"""Libraries of the extras, imported where they are needed."""

from __future__ import annotations

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
