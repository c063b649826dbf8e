"""Records that hold arrays, as .safetensors files: arrays become tensors, every other field JSON in the header."""

from __future__ import annotations

import types
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_arrays, write_arrays
from transferkit.runtime.records import as_json, from_json

Record = TypeVar("Record")


def write_array_record(path: Path, record: Any) -> None:
    """A frozen dataclass as a .safetensors file, atomically; a field that is None is left out."""
    names = [entry.name for entry in _entries(type(record))]
    values = {name: value for name in names if (value := getattr(record, name)) is not None}
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

    def value_of(entry: _Entry) -> Any:
        if entry.is_array and entry.name in arrays:
            return arrays[entry.name]
        if not entry.is_array and entry.name in metadata:
            return from_json(metadata[entry.name], entry.hint, f"{path}, {entry.name},")
        if entry.default is MISSING:
            raise TransferkitError(f"{path} holds no {what}: {entry.name!r} is missing.")
        return entry.default

    return kind(**{entry.name: value_of(entry) for entry in _entries(kind)})


@dataclass(frozen=True)
class _Entry:
    """A field of a record.

    Attributes:
        hint: Its type.
        default: What it holds where the file lacks it; MISSING where it must be there.
    """

    name: str
    hint: Any
    default: Any

    @property
    def is_array(self) -> bool:
        """Whether it holds an array, or an array or None."""
        return _is_array(self.hint)


def _entries(kind: type) -> list[_Entry]:
    hints = get_type_hints(kind, include_extras=True)
    absent = {name: None for name, hint in hints.items() if type(None) in get_args(hint)}
    defaults = absent | {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    return [_Entry(field.name, hints[field.name], defaults.get(field.name, MISSING)) for field in fields(kind)]


def _is_array(hint: Any) -> bool:
    """Whether a type is that of an array, or of an array or None."""
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return any(_origin(choice) is np.ndarray for choice in choices)


def _origin(hint: Any) -> Any:
    """The class that a type is one of; an alias stands for what it names, as `NDArray` is one from NumPy 2.5 on."""
    origin = get_origin(hint)
    while (named := getattr(origin, "__value__", None)) is not None:
        origin = get_origin(named)
    return origin
