"""Records that hold arrays, as .safetensors files: arrays become tensors, every other field JSON in the header."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_arrays, write_arrays
from transferkit.runtime.records import as_json, from_json

Record = TypeVar("Record")


def write_array_record(path: Path, record: Any) -> None:
    """A frozen dataclass as a .safetensors file, atomically; a field that is None is left out."""
    values = {name: value for name in _kinds(type(record)) if (value := getattr(record, name)) is not None}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    write_arrays(path, arrays, {name: as_json(value) for name, value in values.items() if name not in arrays})


def read_array_record(path: Path, kind: type[Record], what: str) -> Record:
    """The frozen dataclass that `write_array_record` wrote; what the file holds besides is passed over.

    Args:
        path: The file.
        kind: The dataclass. A field that the file lacks has its default, or None where it may be None.
        what: What such a file holds, for the message.

    Raises:
        TransferkitError: If the file is missing, damaged or something else.
    """
    arrays, metadata = read_arrays(path)
    values = dict(_absent(kind))
    for name, hint in _kinds(kind).items():
        if _is_array(hint) and name in arrays:
            values[name] = arrays[name]
        elif not _is_array(hint) and name in metadata:
            values[name] = from_json(metadata[name], hint, f"{path}, {name},")
        elif name not in values:
            raise TransferkitError(f"{path} holds no {what}: {name!r} is missing.")
    return kind(**values)


def _kinds(kind: type) -> dict[str, Any]:
    """The type of each field."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _absent(kind: type) -> dict[str, Any]:
    """What a field holds that is not in the file, of those that need not be there."""
    defaults = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    return {name: None for name, hint in _kinds(kind).items() if type(None) in get_args(hint)} | defaults


def _is_array(hint: Any) -> bool:
    """Whether a type is that of an array, or of an array or None."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return any(get_origin(choice) is np.ndarray for choice in choices)
