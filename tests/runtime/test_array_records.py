"""Records that hold arrays: one file, one type, damage told with its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from typing_extensions import TypeAliasType

from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_arrays


@dataclass(frozen=True)
class Marked:
    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    ids: tuple[str, ...]
    note: str = "none"


Scalar = TypeVar("Scalar", bound=np.generic)
Aliased = TypeAliasType("Aliased", npt.NDArray[Scalar], type_params=(Scalar,))


@dataclass(frozen=True)
class MarkedByAlias:
    points: Aliased[np.float32]
    labels: Aliased[np.int64] | None = None


POINTS = np.array([[0.5, 1.5]], np.float32)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_array_record(tmp_path / "marked.safetensors", Marked(POINTS, np.array([3]), ("a",), "near"))

    marked = read_array_record(tmp_path / "marked.safetensors", Marked, "marks")

    assert marked.points.tolist() == [[0.5, 1.5]]
    assert marked.labels is not None
    assert marked.labels.tolist() == [3]
    assert (marked.ids, marked.note) == (("a",), "near")


def test_an_alias_of_an_array_type_is_read_as_an_array(tmp_path: Path) -> None:
    """From NumPy 2.5 on, `numpy.typing.NDArray` is such an alias."""
    write_array_record(tmp_path / "marked.safetensors", MarkedByAlias(POINTS, np.array([3])))

    marked = read_array_record(tmp_path / "marked.safetensors", MarkedByAlias, "marks")

    assert marked.points.tolist() == [[0.5, 1.5]]
    assert marked.labels is not None
    assert marked.labels.tolist() == [3]


def test_what_may_be_none_or_has_a_default_need_not_be_in_the_file(tmp_path: Path) -> None:
    write_arrays(tmp_path / "marked.safetensors", {"points": POINTS}, {"ids": ["a"], "of a later version": 1})

    marked = read_array_record(tmp_path / "marked.safetensors", Marked, "marks")

    assert (marked.labels, marked.note) == (None, "none")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "marked.safetensors", {"points": POINTS})

    with pytest.raises(TransferkitError, match=r"marked\.safetensors holds no marks: 'ids' is missing\."):
        read_array_record(tmp_path / "marked.safetensors", Marked, "marks")


def test_a_part_of_another_type_is_told_with_its_place(tmp_path: Path) -> None:
    write_arrays(tmp_path / "marked.safetensors", {"points": POINTS}, {"ids": ["a", 2]})

    with pytest.raises(TransferkitError, match=r"marked\.safetensors, ids, is damaged: 1 is 2, expected str\."):
        read_array_record(tmp_path / "marked.safetensors", Marked, "marks")
