"""Images and labels in one .npz file: the names of arrays that others use, shapes, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferkit.data import datasets
from transferkit.data.datasets.arrays import as_pixels
from transferkit.data.images import Splits
from transferkit.recipe import ArraysData, expanded_data
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError


def pictures(count: int = 40, shape: tuple[int, ...] = (6, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def load(path: Path, **arrays: Any) -> Splits:
    np.savez(path / "set.npz", **arrays)
    return datasets.load(ArraysData(name="arrays", path=path / "set.npz"), SILENT)


def test_the_short_form_names_the_file() -> None:
    assert expanded_data("arrays:some/set.npz") == {"name": "arrays", "path": "some/set.npz"}


def test_images_and_labels_alone_are_split_three_ways(tmp_path: Path) -> None:
    splits = load(tmp_path, images=pictures(), labels=np.arange(40) % 2)

    assert (len(splits.train), len(splits.val), len(splits.test)) == (28, 4, 8)
    assert splits.class_names == ("0", "1")
    assert splits.train.size_px == (6, 5)


def test_medmnists_parts_with_labels_in_a_column_are_read(tmp_path: Path) -> None:
    parts = {f"{part}_images": pictures(20, (4, 4, 3), seed) for seed, part in enumerate(("train", "val", "test"))}
    parts |= {f"{part}_labels": (np.arange(20) % 2)[:, None] for part in ("train", "val", "test")}

    splits = load(tmp_path, **parts)

    assert (len(splits.train), len(splits.val), len(splits.test)) == (20, 20, 20)
    assert splits.train.take(slice(0, 1))[0].tolist() == parts["train_images"][0].transpose(2, 0, 1).tolist()


def test_keras_names_are_read(tmp_path: Path) -> None:
    labels = np.arange(20) % 2

    splits = load(tmp_path, x_train=pictures(20), y_train=labels, x_test=pictures(20, seed=1), y_test=labels)

    assert len(splits.train) + len(splits.val) == 20
    assert len(splits.test) == 20


def test_classes_have_the_names_that_are_given(tmp_path: Path) -> None:
    splits = load(tmp_path, x=pictures(), y=np.arange(40) % 2, class_names=np.array(["owl", "cat"]))

    assert splits.class_names == ("cat", "owl")
    for name, label in zip(splits.train.ids, splits.train.require_labels().tolist(), strict=True):
        assert splits.class_names[label] == ("owl", "cat")[int(name.removeprefix("train/")) % 2]


def test_labels_may_be_text_and_are_in_natural_order(tmp_path: Path) -> None:
    splits = load(tmp_path, x=pictures(), y=np.array(["10", "2"])[np.arange(40) % 2])

    assert splits.class_names == ("2", "10")


def test_groups_stay_together(tmp_path: Path) -> None:
    splits = load(tmp_path, x=pictures(), y=np.repeat([0, 1], 20), groups=np.arange(40) // 4)

    parts = [set(part.groups or ()) for part in (splits.train, splits.val, splits.test.open())]
    assert set().union(*parts) == {str(number) for number in range(10)}
    assert not parts[0] & parts[2]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (1, 5, 7), (5, 7, 3), (3, 5, 7)])
def test_every_usual_shape_becomes_planes(shape: tuple[int, ...]) -> None:
    assert as_pixels(pictures(2, shape), "set").shape == (2, 3, 5, 7)


def test_grey_is_repeated_in_three_planes() -> None:
    grey = pictures(2)

    assert all((plane == grey).all() for plane in as_pixels(grey, "set").transpose(1, 0, 2, 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": pictures().astype(np.float32), "y": np.arange(40) % 2},
            "train: images of type float32 with values from 0 to 255. Expected uint8, whole numbers from 0 to 255, or "
            "floats from 0 to 1: divide them by what is white, as in images / 255.",
        ),
        ({"x": pictures(40, (4, 4, 5)), "y": np.arange(40) % 2}, "images of shape (40, 4, 4, 5)"),
        ({"x": pictures(), "y": np.arange(39) % 2}, "labels of shape (39,) for 40 images"),
        ({"x": pictures(), "y": np.eye(2)[np.arange(40) % 2]}, "several classes in one image are not supported"),
        ({"x": pictures(), "y": np.arange(40) + 0.5}, "labels such as 0.5 are no classes; predicting a number is regr"),
        (
            {"first": pictures(), "second": np.arange(40)},
            "has the arrays 'first', 'second'. Expected the arrays images",
        ),
        (
            {"x": pictures(), "y": np.arange(40) % 2, "class_names": ["a"]},
            "labels go from 0 to 1, and class_names has 1 name, from 0 on",
        ),
        ({"x": pictures(), "y": np.arange(40) % 2, "groups": [1]}, "groups of shape (1,) for 40 images"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=re.escape(message)):
        load(tmp_path, **arrays)


def test_python_objects_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="holds Python objects, which could run any program, and is not read"):
        load(tmp_path, x=pictures(), y=np.array(["cat", None] * 20, dtype=object))


def test_another_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"no archive")

    with pytest.raises(TransferkitError, match=re.escape("is no .npz file, or damaged")):
        datasets.load(ArraysData(name="arrays", path=tmp_path / "set.npz"), SILENT)
    with pytest.raises(TransferkitError, match=re.escape("is no file. Expected an .npz file")):
        datasets.load(ArraysData(name="arrays", path=tmp_path / "none.npz"), SILENT)


def test_a_dry_run_counts_what_a_run_uses(tmp_path: Path) -> None:
    load(tmp_path, x=pictures(), y=np.arange(40) % 2)

    known = datasets.outline(ArraysData(name="arrays", path=tmp_path / "set.npz"))

    assert (known.labelled, known.tested, known.classes, known.px) == (32, 8, 2, 5)
