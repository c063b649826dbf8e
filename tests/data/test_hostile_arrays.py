"""An .npz file that is damaged, claims too much, or has no images and classes: one message, and nothing is run."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferkit.data import datasets
from transferkit.data.datasets import npz_file
from transferkit.data.images import Splits
from transferkit.recipe import ArraysData
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5), dtype=np.uint8)
LABELS = np.arange(30) % 3


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def claim(shape: tuple[int, ...], content: bytes, dtype: str = "|u1") -> bytes:
    """An array whose header says what it likes."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def read(path: Path) -> Splits:
    return datasets.load(ArraysData(name="arrays", path=path), SILENT)


def load(folder: Path, members: dict[str, bytes]) -> Splits:
    with zipfile.ZipFile(folder / "set.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return read(folder / "set.npz")


def load_arrays(folder: Path, **arrays: Any) -> Splits:
    np.savez(folder / "set.npz", **({"images": IMAGES, "labels": LABELS} | arrays))
    return read(folder / "set.npz")


def evil_header() -> bytes:
    header = b"__import__('pathlib').Path('executed').touch()\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (b"", "is no .npz file, or damaged"),
        (b"hello", "is no .npz file, or damaged"),
        (npy(IMAGES)[:300], "says that it has shape (30, 6, 5) in uint8, 900 bytes, and 172 are there. Save it again."),
        (claim((10**9, 1000, 1000, 3), b""), "3,000,000,000,000,000 bytes, and 0 are there"),
        (claim((60_000, 256, 256, 3), bytes(100)), "11,796,480,000 bytes, and 100 are there"),
        (claim((-30, -6, 5), bytes(900)), "and 900 are there"),
        (claim((2**62, 2**62), b""), "and 0 are there"),
        (claim((30,), b"", "<U2000000000"), 'is no .npz file, or damaged: "descr is not a valid dtype'),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 200_000) + b"(" * 200_000, "or damaged: 'Header info length"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "is no .npz file, or damaged"),
        (evil_header(), "is no .npz file, or damaged: 'malformed node or string"),
    ],
    ids=["empty", "text", "cut", "petabytes", "more", "negative", "overflow", "type", "long", "deep", "program"],
)
def test_a_member_that_is_no_array_or_claims_what_is_not_there_is_refused(
    images: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(TransferkitError, match=re.escape(message)) as error:
        load(tmp_path, {"images.npy": images, "labels.npy": npy(LABELS)})

    assert "\n" not in str(error.value)
    assert "allow_pickle" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_what_would_not_fit_into_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npz_file, "memory_bytes", lambda: 899)

    with pytest.raises(
        TransferkitError, match=r"'images\.npy' unpacks to 0\.0 GB, and this machine has 0\.0 GB of memory"
    ):
        load(tmp_path, {"images.npy": npy(IMAGES), "labels.npy": npy(LABELS)})


def test_what_is_not_asked_for_is_not_unpacked(tmp_path: Path) -> None:
    members = {
        "images.npy": npy(IMAGES),
        "labels.npy": npy(LABELS),
        "note.txt": b"hello",
        "bomb.npy": claim((9**9,), b""),
    }

    assert load(tmp_path, members | {"../../x.npy": b"", "\x1b[2J.npy": b""}).class_names == ("0", "1", "2")


def test_names_of_arrays_are_quoted_and_only_some_are_listed(tmp_path: Path) -> None:
    with pytest.raises(
        TransferkitError, match=r"has the arrays '\\x1b\[2J', 'a0', .*'a\d', \.\.\.\. Expected"
    ) as error:
        load(tmp_path, {"\x1b[2J.npy": b""} | {f"a{number}.npy": b"" for number in range(3000)})
    assert len(str(error.value)) < 600


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"set\.npz has 2 arrays 'images'\. Expected one"):
        load(tmp_path, {"images.npy": npy(IMAGES), "images": npy(IMAGES), "labels.npy": npy(LABELS)})


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    load(tmp_path, {"images.npy": npy(IMAGES), "labels.npy": npy(LABELS)})
    content = bytearray((tmp_path / "set.npz").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(mark, bytes(content)):
            content[found.start() + flags] |= 1
    (tmp_path / "set.npz").write_bytes(content)

    with pytest.raises(TransferkitError, match=r"or damaged: .*is encrypted, password required"):
        read(tmp_path / "set.npz")


def test_a_single_array_is_told_from_an_archive(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(npy(IMAGES))

    with pytest.raises(
        TransferkitError, match=r"holds one array without labels\. Expected an \.npz file, as numpy\.savez"
    ):
        read(tmp_path / "set.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i4", ">i4", "u8", "f8", "f2", "U1", "S1"])
def test_labels_of_every_usual_type_and_images_of_both_orders_are_read(tmp_path: Path, dtype: str, order: Any) -> None:
    splits = load_arrays(tmp_path, images=np.array(IMAGES, order=order), labels=LABELS.astype(dtype))

    train = splits.train
    assert splits.class_names == ("0", "1", "2")
    for position, (name, label) in enumerate(zip(train.ids, train.require_labels().tolist(), strict=True)):
        row = int(name.removeprefix("train/"))
        assert label == row % 3
        assert train.take(np.array([position]))[0, 0].tolist() == IMAGES[row].tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.where(LABELS == 0, np.inf, LABELS), "labels such as inf are no classes"),
        (np.where(LABELS == 0, np.nan, LABELS), "labels such as nan are no classes"),
        (np.where(LABELS == 0, 1e300, LABELS), "labels such as 1e+300 are no classes"),
        (LABELS.astype(complex), "labels of type complex128. Expected whole numbers or text."),
        (np.zeros(30, [("a", "i4")]), "labels of type [('a', '<i4')]. Expected whole numbers or text."),
        (np.array(["a", "", "c"])[LABELS], "the label ''. Expected 1 to 1,000 characters"),
        (np.array(["a", " ", "c"])[LABELS], "the label ' '. Expected 1 to 1,000 characters"),
        (np.array(["a", "b\x1b[2J", "c"])[LABELS], "the label 'b\\x1b[2J'. Expected"),
        (np.array(["a", "\ud800", "c"])[LABELS], "the label '\\ud800'. Expected"),
        (np.array(["a", "x" * 1001, "c"])[LABELS], "(1,001 characters). Expected 1 to 1,000 characters"),
        (np.array([b"a", b"\xff", b"c"])[LABELS], "the label b'\\xff' is no text in UTF-8."),
        (np.int64(3), "labels of shape () for 30 images"),
        (LABELS.reshape(1, 30), "labels of shape (1, 30) for 30 images"),
    ],
    ids=[
        "inf",
        "nan",
        "huge",
        "complex",
        "record",
        "empty",
        "space",
        "control",
        "surrogate",
        "long",
        "bytes",
        "0d",
        "row",
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=re.escape(message)):
        load_arrays(tmp_path, labels=labels)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (np.array("abc"), "class_names of shape () and type <U3. Expected text, (C,)."),
        (np.array([["a", "b", "c"]]), "class_names of shape (1, 3)"),
        (np.array([1.5, np.nan, 3]), "class_names of shape (3,) and type float64"),
        (np.array(["a", "a", "b"]), "class_names has 'a' 2 times. Expected each name once."),
        (np.array(["", "b", "c"]), "the class name ''. Expected"),
        (np.array(["a", "b"]), "labels go from 0 to 2, and class_names has 2 names, from 0 on."),
    ],
    ids=["0d", "2d", "float", "twice", "empty", "few"],
)
def test_names_that_are_no_list_of_different_names_are_refused(names: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=re.escape(message)):
        load_arrays(tmp_path, class_names=names)


def test_a_number_below_the_first_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"labels go from -1 to 1, and class_names has 3 names, from 0 on"):
        load_arrays(tmp_path, labels=LABELS - 1, class_names=np.array(["a", "b", "c"]))


@pytest.mark.parametrize("shape", [(30, 0, 5), (30, 6, 0, 3), (30, 6, 5, 0)])
def test_images_without_pixels_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=re.escape(f"images of shape {shape} have no pixels")):
        load_arrays(tmp_path, images=np.zeros(shape, np.uint8))


@pytest.mark.parametrize("groups", [np.int64(1), np.zeros((30, 2))])
def test_groups_of_another_shape_are_refused(groups: Any, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=re.escape(f"groups of shape {groups.shape} for 30 images")):
        load_arrays(tmp_path, groups=groups)


def test_an_empty_part_is_none_and_no_training_images_are_an_error(tmp_path: Path) -> None:
    empty = {"val_images": IMAGES[:0], "val_labels": LABELS[:0], "test_images": IMAGES[:0], "test_labels": LABELS[:0]}
    np.savez(tmp_path / "set.npz", train_images=IMAGES, train_labels=LABELS, **empty)

    splits = read(tmp_path / "set.npz")

    assert (len(splits.train), len(splits.val), len(splits.test)) == (21, 3, 6)
    with pytest.raises(TransferkitError, match=r"set\.npz: images holds no images"):
        load_arrays(tmp_path, images=IMAGES[:0], labels=LABELS[:0])


def test_images_of_a_part_without_labels_are_told_and_not_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", train_images=IMAGES, train_labels=LABELS, test_images=IMAGES)

    assert "test_images of set.npz has no labels beside it and is not used" in read(tmp_path / "set.npz").notes
