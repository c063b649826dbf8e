"""Images inside Parquet and tar files: parts, classes, pixels, and what bad shards get."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transferkit.data import datasets
from transferkit.data.datasets import shards
from transferkit.data.images import Splits
from transferkit.recipe import ShardsData
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

GREY = {"cat": 40, "dog": 200}


def png(level: int, size: tuple[int, int] = (12, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(file, "PNG")
    return file.getvalue()


def load(path: Path, **keys: Any) -> Splits:
    return datasets.load(ShardsData(name="shards", path=path, val_fraction=0.25, **keys), SILENT)


def write_parquet(path: Path, labels: list[Any], names: list[str] | None = None, **columns: Any) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    level = {0: 40, 1: 200, **GREY}
    cells = [{"bytes": png(level.get(label, 90)), "path": None} for label in labels]
    table = pa.table({"image": cells, "label": labels, **columns})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path)
    return path


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return path


def samples(count: int, start: int = 0) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for index in range(start, start + count):
        name = ("cat", "dog")[index % 2]
        members |= {f"{index:04}.png": png(GREY[name]), f"{index:04}.cls": name.encode()}
    return members


def test_parquet_as_the_hub_has_it_gives_named_classes_and_parts(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1] * 8, ["cat", "dog"])
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", [1, 0] * 4, ["cat", "dog"])
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 1, 0], ["cat", "dog"])

    splits = load(tmp_path)
    test = splits.test.open()

    assert splits.class_names == ("cat", "dog")
    assert (len(splits.train), len(splits.val), len(test)) == (18, 6, 3)
    assert test.require_labels().tolist() == [1, 1, 0]
    assert splits.train.size_px == (10, 10)  # the short side
    levels = splits.train.take(np.arange(18))[:, 0, 5, 5]
    assert levels.tolist() == [(40, 200)[label] for label in splits.train.require_labels().tolist()]


def test_tar_shards_pair_images_with_their_classes(tmp_path: Path) -> None:
    write_tar(tmp_path / "shard-train-000000.tar", samples(12))
    write_tar(tmp_path / "shard-train-000001.tar", samples(8, 12))
    write_tar(tmp_path / "shard-test-000000.tar", samples(4))

    splits = load(tmp_path)

    assert (len(splits.train) + len(splits.val), len(splits.test.open())) == (20, 4)
    assert splits.train.ids[0].startswith("train/shard-train-00000")
    levels = splits.test.open().take(np.arange(4))[:, 0, 5, 5]
    assert levels.tolist() == [40, 200, 40, 200]


def test_numbered_classes_of_tar_files_take_names_from_the_file_beside_them(tmp_path: Path) -> None:
    members = {
        f"{index}.{ending}": content
        for index in range(8)
        for ending, content in (("jpg", png(90)), ("cls", str(index % 2).encode()))
    }
    write_tar(tmp_path / "train.tar", members)
    (tmp_path / "classnames.txt").write_text("tench\ngoldfish\n")

    assert load(tmp_path).class_names == ("goldfish", "tench")


def test_a_class_is_read_from_json_by_its_key(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for index in range(8):
        facts = {"species": ("cat", "dog")[index % 2], "label": "animal"}
        members |= {f"a/{index}.png": png(90), f"a/{index}.json": json.dumps(facts).encode()}
    file = write_tar(tmp_path / "train.tar", members)

    assert load(file, label_column="species").class_names == ("cat", "dog")


def test_without_a_test_part_a_share_is_sealed(tmp_path: Path) -> None:
    splits = load(write_tar(tmp_path / "all.tar", samples(20)), test_fraction=0.2)

    assert len(splits.test.open()) == 4


def test_unreadable_images_are_listed_or_skipped(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "train.tar", samples(20) | {"bad.png": b"no image", "bad.cls": b"cat"})

    with pytest.raises(
        TransferkitError,
        match=r"1 of 21 images cannot be read:\n  train/train/bad: not an image, .*\nLeave them",
    ):
        load(file)
    splits = load(file, skip_bad=True)
    assert len(splits.train) + len(splits.val) + len(splits.test.open()) == 20
    assert any(note.startswith("skipped, unreadable: train/train/bad: not an image") for note in splits.notes)


def test_nothing_is_unpacked_and_a_path_upwards_is_only_a_name(tmp_path: Path) -> None:
    place = tmp_path / "in"
    write_tar(place / "train.tar", {f"../../{name}": content for name, content in samples(12).items()})

    load(place)

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "train.tar"]


def test_the_outline_counts_without_decoding(tmp_path: Path) -> None:
    write_tar(tmp_path / "train.tar", samples(12))
    write_tar(tmp_path / "test.tar", samples(4))
    settings = ShardsData(name="shards", path=tmp_path)

    known = shards.outline(settings)

    assert (known.labelled, known.tested, known.classes, known.px) == (12, 4, 2, 10)
    assert shards.seen_in_words(settings) == ["Data: 2 classes, 16 images in 2 shards."]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.png": b"x"}, r"'1' has \.png\. Expected an image, and its class in \.cls, \.txt or \.json"),
        ({"1.cls": b"cat"}, r"'1' has \.cls\. Expected an image"),
        ({"1.png": b"x", "1.json": b"{damaged"}, "Expected an image, and its class"),
        ({"1.png": b"x", "1.cls": b"cat"}, r"1 class: cat\. Expected \.parquet files"),
    ],
)
def test_samples_that_are_not_whole_are_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        load(write_tar(tmp_path / "train.tar", members))


@pytest.mark.parametrize("name", ["train.tar", "train.parquet"])
def test_a_damaged_shard_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no shard at all" * 100)

    with pytest.raises(TransferkitError, match=rf"{name} is no (tar|Parquet) file, or damaged"):
        load(tmp_path)


@pytest.mark.parametrize(("name", "words"), [("empty", "holds no shards"), ("nothing", "does not exist")])
def test_a_place_without_shards_says_what_is_expected(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(TransferkitError, match=rf"{name} {words}\. Expected \.parquet files with the columns"):
        load(tmp_path / name)


def test_columns_that_are_missing_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "train.parquet", [0, 1], kind=["a", "b"])

    with pytest.raises(TransferkitError, match=r"has no column 'kinds'\. Did you mean 'kind'"):
        load(file, label_column="kinds")


def test_an_image_that_is_only_a_path_is_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}] * 4, "label": ["a", "b"] * 2})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")

    with pytest.raises(TransferkitError, match="row 0: the image has no bytes, perhaps only the path of another file"):
        load(tmp_path)


@pytest.mark.parametrize("label", [0.5, True, None])
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, label: Any) -> None:
    file = write_parquet(tmp_path / "train.parquet", [label, label])

    with pytest.raises(TransferkitError, match=r"row 0: label .*Expected one class, as text or a whole number"):
        load(file)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(TransferkitError, match=r'pip install "transferkit\[parquet\]"'):
        load(tmp_path)
