"""Tar and Parquet shards that are cut, doubled, contradictory or oddly named: the right images, or one message."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transferkit.data import datasets
from transferkit.data.datasets import shard_stream
from transferkit.data.images import Splits
from transferkit.features.extraction.byte_sources import byte_lines
from transferkit.recipe import ShardsData, parse_data
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["held", "streamed"])
Members = Iterable[tuple[str, bytes]]


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 8), (level, level, level)).save(file, "PNG")
    return file.getvalue()


def load(path: Path, **keys: Any) -> Splits:
    return datasets.load(ShardsData(name="shards", path=path, val_fraction=0.25, **keys), SILENT)


def write_tar(path: Path, members: Members, mode: Any = "w", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, **options) as archive:
        for name, content in members:
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return path


def samples(count: int = 12, first: int = 0, **extra: bytes) -> Members:
    """So many images of the classes 0 and 1 in turn; `extra` are members that each sample has besides."""
    for number in range(first, first + count):
        yield f"s{number}.png", png(number)
        yield f"s{number}.cls", b"%d" % (number % 2)
        yield from ((f"s{number}.{ending}", content) for ending, content in extra.items())


def count_of(splits: Splits) -> int:
    return len(splits.train) + len(splits.val) + len(splits.test.open())


@BOTH
@pytest.mark.parametrize("headers", [5, 10], ids=["odd", "even"])
@pytest.mark.parametrize("more", [0, 200], ids=["before a header", "inside one"])
def test_a_tar_file_cut_between_members_is_refused(tmp_path: Path, stream: bool, headers: int, more: int) -> None:
    path = write_tar(tmp_path / "a.tar", samples())
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[headers].offset
    path.write_bytes(path.read_bytes()[: offset + more])

    with pytest.raises(
        TransferkitError, match=f"damaged.*: it ends after {offset:,} bytes, without the mark of its end"
    ):
        load(tmp_path, stream=stream)
    with pytest.raises(TransferkitError, match="without the mark of its end"):
        list(byte_lines(str(tmp_path)))


@BOTH
def test_a_tar_file_with_a_damaged_header_is_refused(tmp_path: Path, stream: bool) -> None:
    path = write_tar(tmp_path / "a.tar", samples())
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        offset = archive.getmembers()[6].offset
    content[offset : offset + 60] = b"\xff" * 60
    path.write_bytes(content)

    with pytest.raises(TransferkitError, match=f"no header at byte {offset:,}"):
        load(tmp_path, stream=stream)


def test_a_compressed_tar_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tgz", samples(), "w:gz")
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(TransferkitError, match=r"a\.tgz is no tar file, or damaged: Compressed file ended before"):
        load(tmp_path)


@BOTH
def test_tar_files_put_one_after_the_other_are_read_to_the_end(tmp_path: Path, stream: bool) -> None:
    parts = [write_tar(tmp_path / f"{first}.part", samples(first=first)) for first in (0, 12)]
    (tmp_path / "a.tar").write_bytes(b"".join(part.read_bytes() for part in parts))

    assert count_of(load(tmp_path, stream=stream)) == 24
    assert len(list(byte_lines(str(tmp_path / "a.tar")))) == 24


@BOTH
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"jpg": b"x"}, r"'s0' has \.png, \.cls, \.jpg\. Expected one image"),
        ({"json": b'{"label": 7}'}, r"Its class is '0' in \.cls and '7' in \.json: expected one"),
    ],
    ids=["two images", "two classes"],
)
def test_a_sample_that_contradicts_itself_is_named(
    tmp_path: Path, stream: bool, extra: dict[str, bytes], message: str
) -> None:
    write_tar(tmp_path / "a.tar", samples(**extra))

    with pytest.raises(TransferkitError, match=message):
        load(tmp_path, stream=stream)


@BOTH
@pytest.mark.parametrize("extra", [{"npy": b"features"}, {"json": b'{"label": "zero"}'}, {"json": b"[" * 100_000}])
def test_what_else_a_sample_has_changes_nothing(tmp_path: Path, stream: bool, extra: dict[str, bytes]) -> None:
    write_tar(tmp_path / "a.tar", samples(**extra))

    splits = load(tmp_path, stream=stream)

    assert splits.train.class_names == ("0", "1")
    rows = np.arange(len(splits.train))
    numbers = [int(id_.rpartition("s")[2]) for id_ in splits.train.ids]
    assert splits.train.take(rows)[:, 0, 0, 0].tolist() == numbers


@BOTH
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b" \n", r"\.cls holds ''\. Expected one class, on one line"),
        (b"cat\ndog", r"\.cls holds 'cat\\ndog'\. Expected one class"),
        (b"\xe9t\xe9", r"\.cls holds b'\\xe9t\\xe9'\. Expected the class in UTF-8"),
    ],
)
def test_a_class_that_is_no_single_line_of_text_is_refused(
    tmp_path: Path, stream: bool, label: bytes, message: str
) -> None:
    write_tar(tmp_path / "a.tar", [*samples(), ("z.png", png(0)), ("z.cls", label)])

    with pytest.raises(TransferkitError, match=message):
        load(tmp_path, stream=stream)
    assert list(byte_lines(str(tmp_path)))[-1][1] == ""  # features of an image need no class


@BOTH
def test_two_samples_of_one_name_are_refused(tmp_path: Path, stream: bool) -> None:
    write_tar(tmp_path / "a.tar", [*samples(), *samples(2)])

    with pytest.raises(TransferkitError, match=r"a\.tar: two samples are called 's0'"):
        load(tmp_path, stream=stream)


@BOTH
def test_shards_of_one_name_in_two_folders_give_each_image_its_own_id(tmp_path: Path, stream: bool) -> None:
    for day in ("monday", "tuesday"):
        write_tar(tmp_path / day / "0.tar", samples())

    splits = load(tmp_path, stream=stream)

    ids = {*splits.train.ids, *splits.val.ids, *splits.test.open().ids}
    assert len(ids) == 24
    assert "train/tuesday/0/s3" in ids


@BOTH
def test_names_of_classes_beside_shards_count_for_streams_too(tmp_path: Path, stream: bool) -> None:
    (tmp_path / "classnames.txt").write_text("cat\ndog\n", encoding="utf-8")
    write_tar(tmp_path / "a.tar", samples())

    assert load(tmp_path, stream=stream).train.class_names == ("cat", "dog")

    (tmp_path / "classnames.txt").write_text("cat\n", encoding="utf-8")
    with pytest.raises(TransferkitError, match=r"Its class is 1, and classnames\.txt names 1, from 0"):
        load(tmp_path, stream=stream)

    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\ndog\n")
    with pytest.raises(TransferkitError, match=r"classnames\.txt is not in UTF-8, from byte 3 on"):
        load(tmp_path, stream=stream)


@BOTH
def test_names_of_classes_above_the_folders_of_parts_count_too_and_those_beside_come_first(
    tmp_path: Path, stream: bool
) -> None:
    write_tar(tmp_path / "train" / "0.tar", samples())
    write_tar(tmp_path / "test" / "0.tar", samples(first=20))
    (tmp_path / "classnames.txt").write_text("cat\ndog\n", encoding="utf-8")

    assert load(tmp_path, stream=stream).class_names == ("cat", "dog")

    for part in ("train", "test"):
        (tmp_path / part / "classnames.txt").write_text("ant\nbee\n", encoding="utf-8")
    assert load(tmp_path, stream=stream).class_names == ("ant", "bee")


@pytest.mark.parametrize("place", [".", ".."], ids=["beside", "above"])
def test_features_have_the_names_of_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    pytest.importorskip("fsspec")
    write_tar(tmp_path / "train" / "0.tar", samples(2))
    (tmp_path / "train" / place / "classnames.txt").write_text("cat\ndog\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "train")

    for name in (".", "0.tar", str(tmp_path / "train"), f"file://{tmp_path}/train"):
        assert [line[1] for line in byte_lines(name)] == ["cat", "dog"], name

    (tmp_path / "train" / place / "classnames.txt").write_text("cat\n", encoding="utf-8")
    with pytest.raises(TransferkitError, match=r"Its class is 1, and classnames\.txt names 1, from 0 on"):
        list(byte_lines("0.tar"))


@BOTH
def test_a_key_of_json_can_name_the_class_for_streams_too(tmp_path: Path, stream: bool) -> None:
    write_tar(tmp_path / "a.tar", samples(json=b'{"kind": "x"}'))
    write_tar(tmp_path / "b.tar", samples(json=b'{"kind": "y"}'))

    assert load(tmp_path, stream=stream, label_column="kind").train.class_names == ("x", "y")


@BOTH
def test_names_that_are_not_utf8_are_spelt_out(tmp_path: Path, stream: bool) -> None:
    named = [(f"\xe9{name}", content) for name, content in samples()]
    write_tar(tmp_path / "a.tar", named, format=tarfile.GNU_FORMAT, encoding="latin-1")

    assert "train/a/\\xe9s3" in {
        *(splits := load(tmp_path, stream=stream)).train.ids,
        *splits.val.ids,
        *splits.test.open().ids,
    }


@BOTH
def test_what_macos_leaves_beside_files_is_passed_over(tmp_path: Path, stream: bool) -> None:
    both = [pair for name, content in samples() for pair in ((f"._{name}", b"\0\5\26\7"), (name, content))]
    write_tar(tmp_path / "a.tar", both)
    (tmp_path / "._a.tar").write_bytes(b"\0\5\26\7")

    assert count_of(load(tmp_path, stream=stream)) == 12
    assert len(list(byte_lines(str(tmp_path)))) == 12


def test_a_compressed_tar_among_others_is_not_left_out_silently(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples())
    write_tar(tmp_path / "b.tar.gz", samples(first=12), "w:gz")

    assert count_of(load(tmp_path)) == 24
    with pytest.raises(TransferkitError, match=r"b\.tar\.gz: parts of a compressed tar cannot be read\. Unpack it"):
        list(byte_lines(str(tmp_path)))


@BOTH
@pytest.mark.parametrize("label", ["", "  "])
def test_an_empty_label_is_no_class(tmp_path: Path, stream: bool, label: str) -> None:
    write_parquet(tmp_path / "a.parquet", [label, "b"] * 6)

    with pytest.raises(TransferkitError, match=r"row 0: label .*Expected one class"):
        load(tmp_path, stream=stream)
    assert [line[1] for line in byte_lines(str(tmp_path))] == ["", "b"] * 6


def test_features_need_no_class_of_a_row(tmp_path: Path) -> None:
    names = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    write_parquet(tmp_path / "a.parquet", [-1, 1, None], {"huggingface": json.dumps(names)})

    assert [line[1] for line in byte_lines(str(tmp_path))] == ["", "dog", ""]


@BOTH
def test_two_columns_of_one_name_are_refused(tmp_path: Path, stream: bool) -> None:
    pa = pytest.importorskip("pyarrow")
    images = pa.array([png(0)])
    table = pa.Table.from_arrays([images, images, pa.array(["cat"])], names=["image", "image", "label"])
    pa.parquet.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(TransferkitError, match=r"a\.parquet has 2 columns 'image'\. Expected one"):
        load(tmp_path, stream=stream)


def write_parquet(path: Path, labels: list[Any], metadata: dict[str, str] | None = None) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = pa.table({"image": [png(level) for level in range(len(labels))], "label": labels})
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize("data", ["shards:s3://bucket/train", "folder:gs://photos", "s3://bucket/train"])
def test_a_url_is_no_data_to_learn_from(data: str) -> None:
    with pytest.raises(TransferkitError, match=r"a path on this machine: data of a URL .* mounted or copied"):
        parse_data(data)


def photo(kind: str) -> bytes:
    """A picture whose file has some thousand bytes."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_an_image_of_the_test_part_that_was_cut_is_found_before_a_streamed_training(tmp_path: Path, kind: str) -> None:
    ending, whole = kind.lower(), photo(kind)
    write_tar(tmp_path / "train.tar", samples())
    cut = [(f"x.{ending}", whole[: len(whole) * 2 // 3]), ("x.cls", b"1"), (f"y.{ending}", whole), ("y.cls", b"0")]
    write_tar(tmp_path / "test.tar", [*samples(), *cut])

    with pytest.raises(TransferkitError, match=r"test\.tar: 1 of 14 images cannot be read:\s+x: ") as error:
        load(tmp_path, stream=True)
    assert str(error.value).endswith("out of the shard; or leave stream out, and bad images with --skip-bad.")


def test_a_damaged_middle_is_found_before_a_streamed_training(tmp_path: Path) -> None:
    content = bytearray(photo("PNG"))
    content[len(content) // 2] ^= 1
    write_tar(tmp_path / "a.tar", [*samples(), ("x.png", bytes(content)), ("x.cls", b"1")])

    with pytest.raises(TransferkitError, match=r"1 of 13 images cannot be read:\s+x: "):
        load(tmp_path, stream=True)


def test_what_is_no_image_is_found_before_a_streamed_training(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [*samples(), ("x.png", b"junk"), ("x.cls", b"1"), ("y.png", b""), ("y.cls", b"0")])

    with pytest.raises(
        TransferkitError, match=r"a\.tar: 2 of 14 images cannot be read:\s+x: .*\s+y: .*\s+Take them out"
    ):
        load(tmp_path, stream=True)


def test_an_index_holds_for_the_reading_with_which_images_were_checked(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((9, 8), 0.5, np.float32)).save(file, "TIFF")
    write_tar(tmp_path / "a.tar", [*samples(), ("x.tif", file.getvalue()), ("x.cls", b"1")])
    load(tmp_path, stream=True, range=(0, 1))

    with pytest.raises(TransferkitError, match=r"1 of 13 images cannot be read:\s+x: .*data\.range=\[0,1\]"):
        load(tmp_path, stream=True)


def test_a_streamed_image_that_cannot_be_decoded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "a.tar", samples())
    train = load(tmp_path, stream=True, storage=8, test_fraction=0.1).train

    def failing(*_: Any) -> Any:
        raise TransferkitError("too little of something")

    monkeypatch.setattr(shard_stream, "decode", failing)
    with pytest.raises(
        TransferkitError,
        match=r"train/a/s\d+ cannot be read: too little .*\. Take it out of its shard; or leave stream",
    ):
        np.asarray(train.storage)


def replaced(path: Path) -> None:
    write_tar(path, samples(first=100))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize("change", [replaced, cut])
def test_a_shard_that_changes_while_it_is_streamed_is_named(tmp_path: Path, change: Callable[[Path], None]) -> None:
    train = load(write_tar(tmp_path / "a.tar", samples()).parent, stream=True, storage=8).train
    os.utime(tmp_path / "a.tar")
    assert np.asarray(train.storage).shape == (12, 3, 8, 8)  # another time alone is no change

    change(tmp_path / "a.tar")

    with pytest.raises(
        TransferkitError, match=r"a\.tar has changed since this run began: train/a/s\d+ is another image"
    ):
        np.asarray(train.storage)


def test_a_shard_that_vanishes_while_it_is_streamed_is_named(tmp_path: Path) -> None:
    train = load(write_tar(tmp_path / "a.tar", samples()).parent, stream=True, storage=8).train
    (tmp_path / "a.tar").unlink()

    with pytest.raises(TransferkitError, match=r"Cannot read .*a\.tar: No such file or directory"):
        np.asarray(train.storage)
