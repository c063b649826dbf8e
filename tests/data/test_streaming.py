"""Images that stay in their shards: the same splits and pixels as those held in memory, read ahead in random order."""

from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transferkit.data import datasets
from transferkit.data.batches import ShiftAndFlip, TrainingBatches, streamed_order
from transferkit.data.datasets import shard_stream
from transferkit.data.images import Images, Splits
from transferkit.data.streamed_pixels import StreamedPixels
from transferkit.recipe import ShardsData
from transferkit.runtime.console import SILENT
from transferkit.runtime.distributed import World
from transferkit.runtime.errors import TransferkitError

CPU = torch.device("cpu")
SHARDS, EACH = 6, 30


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def png(number: int) -> bytes:
    """A picture that tells its number."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(content, "PNG")
    return content.getvalue()


def write_tar(path: Path, numbers: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            for ending, data in ((".png", png(number)), (".cls", b"even" if number % 2 == 0 else b"odd")):
                member = tarfile.TarInfo(f"{number:05d}{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def write_parquet(path: Path, numbers: range) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [{"bytes": png(number), "path": None} for number in numbers]
    labels = ["even" if number % 2 == 0 else "odd" for number in numbers]
    parquet.write_table(arrow.table({"image": cells, "label": labels}), path, row_group_size=7)


@pytest.fixture(params=["tar", "parquet"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write = {"tar": write_tar, "parquet": write_parquet}[request.param]
    (tmp_path / "shards").mkdir()
    for number in range(SHARDS):
        write(tmp_path / "shards" / f"train-{number}.{request.param}", range(EACH * number, EACH * (number + 1)))
    write(tmp_path / "shards" / f"test-0.{request.param}", range(1000, 1012))
    return tmp_path / "shards"


def load(path: Path, **keys: Any) -> Splits:
    return datasets.load(ShardsData(name="shards", path=path, storage=8, **{"val_fraction": 0.2, **keys}), SILENT)


def numbers_of(pixels: Any) -> list[int]:
    array = np.asarray(pixels).astype(int)
    return (array[:, 0, 0, 0] + 256 * array[:, 1, 0, 0]).tolist()


def test_streamed_splits_are_those_held_in_memory(shards: Path) -> None:
    held, streamed = load(shards), load(shards, stream=True)

    for part, other in (
        (held.train, streamed.train),
        (held.val, streamed.val),
        (held.test.open(), streamed.test.open()),
    ):
        assert other.ids == part.ids
        assert np.array_equal(other.require_labels(), part.require_labels())
        assert np.array_equal(other.take(np.arange(len(part))), part.take(np.arange(len(part))))
    assert isinstance(streamed.train.storage, StreamedPixels)
    assert streamed.notes[1] == "images streamed from their shards at 8 x 8 px (squash)"


def test_images_are_given_in_the_order_that_they_are_asked_for(shards: Path) -> None:
    train = load(shards, stream=True, val_fraction=0).train
    order = np.random.default_rng(0).permutation(len(train))

    assert numbers_of(train.take(order)) == order.tolist()


def test_the_content_decides_the_fingerprint(shards: Path) -> None:
    first = load(shards, stream=True).train.fingerprint
    again = load(shards, stream=True).train.fingerprint
    changed = next(shards.glob("train-3.*"))
    (write_tar if changed.suffix == ".tar" else write_parquet)(changed, range(2 * EACH + 1, 3 * EACH + 1))

    assert first == again
    assert load(shards, stream=True).train.fingerprint != first


def test_an_unchanged_shard_is_indexed_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(shards, stream=True)
    monkeypatch.setattr(shard_stream, "_read_index", lambda *_: pytest.fail("read again"))

    assert len(load(shards, stream=True).train) == 144  # four fifths of 180


def batches(images: Images, **options: Any) -> TrainingBatches:
    return TrainingBatches(images, 10, CPU, None, 3, **options)


def test_an_epoch_has_every_image_once_with_its_label_in_an_order_that_the_seed_decides(shards: Path) -> None:
    train = load(shards, stream=True, stream_window=40, val_fraction=0).train

    epochs = []
    for epoch in (0, 0, 1):
        pairs = [
            (number, label)
            for pixels, labels in batches(train).epoch(epoch)
            for number, label in zip(numbers_of(pixels), labels.tolist(), strict=True)
        ]
        epochs.append([number for number, _ in pairs])
        assert all(label == number % 2 for number, label in pairs)

    assert sorted(epochs[0]) == list(range(180))
    assert epochs[0] == epochs[1] != epochs[2]


def test_a_window_mixes_several_blocks_and_no_batch_is_in_the_order_of_the_shard(shards: Path) -> None:
    train = load(shards, stream=True, stream_window=60, val_fraction=0).train
    assert isinstance(train.storage, StreamedPixels)
    train.storage.blocks = (np.arange(192) // 15).astype(np.int32)  # as if 15 images were read together

    first = numbers_of(next(batches(train).epoch(0))[0])

    assert len({number // 15 for number in first}) >= 3
    assert first != sorted(first)


def test_blocks_are_read_whole_so_that_a_window_costs_few_requests() -> None:
    asked: list[int] = []

    def read(rows: Any) -> list[bytes]:
        asked.append(len(np.unique(rows // 50)))
        return [bytes([row % 256]) for row in rows.tolist()]

    pixels = StreamedPixels(
        (1000, 1, 1, 1),
        (np.arange(1000) // 50).astype(np.int32),
        200,
        read,
        lambda content: np.frombuffer(content, np.uint8).reshape(1, 1, 1),
        1,
    )
    order = streamed_order(pixels, np.arange(1000), torch.Generator().manual_seed(0)).numpy()

    decoded = np.concatenate(list(pixels.ahead(np.split(order, 25))))

    assert decoded.ravel().tolist() == (order % 256).tolist()
    assert sorted(order.tolist()) == list(range(1000))
    assert asked == [4] * 5  # 200 images are four blocks of 50


def test_the_next_window_is_read_while_a_batch_is_used() -> None:
    read_twice = threading.Event()
    windows: list[int] = []

    def read(rows: Any) -> list[bytes]:
        windows.append(len(rows))
        if len(windows) == 2:
            read_twice.set()
        return [b"\0"] * len(rows)

    pixels = StreamedPixels((40, 1, 1, 1), np.zeros(40, np.int32), 10, read, lambda _: np.zeros((1, 1, 1), np.uint8), 1)
    stream = pixels.ahead(np.split(np.arange(40), 8))

    next(stream)

    assert read_twice.wait(10)
    assert len(windows) <= 3  # and not everything
    stream.close()  # type: ignore[attr-defined]


def test_two_processes_get_the_halves_of_what_one_gets(shards: Path) -> None:
    train = load(shards, stream=True, stream_window=40).train
    moves = ShiftAndFlip(shift=0.2)
    alone = list(TrainingBatches(train, 12, CPU, moves, 3).epoch(0))
    worlds = [World(rank, 2) for rank in range(2)]

    parts = [list(TrainingBatches(train, 12, CPU, moves, 3, world=world).epoch(0)) for world in worlds]

    for step, (images, labels) in enumerate(alone):
        assert torch.equal(torch.cat([part[step][0] for part in parts]), images)
        assert torch.equal(parts[0][step][1], labels)


def test_what_a_stream_cannot_do_is_refused(shards: Path) -> None:
    with pytest.raises(TransferkitError, match="cannot leave bad ones out beforehand"):
        load(shards, stream=True, skip_bad=True)
    train = load(shards, stream=True).train
    with pytest.raises(TransferkitError, match="sampler balanced draws images from anywhere"):
        batches(train, draw_weights=torch.ones(len(train)))


def test_a_compressed_tar_cannot_be_streamed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar.gz", "w:gz") as archive:
        for number in range(8):
            for ending, data in ((".png", png(number)), (".cls", b"even" if number % 2 == 0 else b"odd")):
                member = tarfile.TarInfo(f"{number}{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    with pytest.raises(TransferkitError, match="parts of a compressed tar cannot be read"):
        load(tmp_path, stream=True)
