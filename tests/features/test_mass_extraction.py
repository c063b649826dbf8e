"""Extraction in shards that an executor computes, from folders, tar and Parquet shards, here or behind a URL."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from killers import Killer
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.executors import slurm
from transferkit.features.extraction import sharding
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.sharding import ShardPlan, extract_shards
from transferkit.features.extraction.streaming import extract
from transferkit.features.finite import narrowed
from transferkit.runtime import remote
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import MachineError, TransferkitError

SETTINGS = ExtractSettings("resnet-mini", ("stage2",), weights="none", size=16, device="cpu", threads=1, batch_size=4)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(slurm, "CLUSTER", "local")


def picture(number: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (23 * number % 256, 100, 255 - 23 * number % 256)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures in two class folders, each of another colour."""
    for number in range(10):
        place = tmp_path / "pets" / ("cat" if number < 6 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(picture(number))
    return tmp_path / "pets"


def tar_of(numbers: range) -> bytes:
    """A WebDataset shard of these pictures."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in numbers:
            label = b"cat" if number < 6 else b"dog"
            for ending, data in ((".png", picture(number)), (".cls", label)):
                member = tarfile.TarInfo(f"{number:03d}{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def parquet_of(numbers: range) -> bytes:
    """A shard as on the Hugging Face hub, in row groups of two."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {
        "image": [{"bytes": picture(number), "path": None} for number in numbers],
        "label": ["cat" if number < 6 else "dog" for number in numbers],
    }
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(rows), content, row_group_size=2)
    return content.getvalue()


def index_of(out: Path) -> list[dict[str, str]]:
    with (out.parent / f"{out.name}.index.csv").open() as file:
        return list(csv.DictReader(file))


def facts_of(out: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads((out.parent / f"{out.name}.json").read_text())
    return facts


@pytest.fixture
def expected(folder: Path, tmp_path: Path) -> np.ndarray:
    """What the plain command gives for the same pictures."""
    return np.load(extract(SETTINGS, str(folder), tmp_path / "expected.npy", SILENT))


# ---- shards ----


def test_shards_make_the_file_that_one_piece_makes_with_a_checksum_each(
    folder: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    out = extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(3), SILENT)

    features = np.load(out)
    assert np.allclose(features, expected, atol=1e-5 * np.abs(expected).max())
    assert [Path(row["id"]).stem for row in index_of(out)] == [str(number) for number in range(10)]
    bounds = [(0, 3), (3, 6), (6, 10)]
    assert facts_of(out)["shards"] == [
        {"number": number, "rows": end - start, "sha256": hashlib.sha256(features[start:end].tobytes()).hexdigest()}
        for number, (start, end) in enumerate(bounds, start=1)
    ]
    assert facts_of(out)["sha256"] == hashlib.sha256(features.tobytes()).hexdigest()
    assert not (tmp_path / "out.npy.shards").exists()


def test_finished_shards_are_not_computed_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extract_shards(SETTINGS, str(folder), tmp_path / "whole.npy", ShardPlan(3), SILENT)
    made: list[int] = []
    real = sharding.extract_shard

    def stops_once(settings: ExtractSettings, *rest: object) -> None:
        made.append(settings.shard[0])
        if made == [1, 2]:
            raise KeyboardInterrupt
        real(settings, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sharding, "extract_shard", stops_once)
    with pytest.raises(KeyboardInterrupt):
        extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(3), SILENT)

    out = extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(3), SILENT)

    assert made == [1, 2, 2, 3]
    assert out.read_bytes() == whole.read_bytes()


def test_shards_of_other_settings_are_not_mixed_in(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TransferkitError("no power")

    with monkeypatch.context() as patch:
        patch.setattr(sharding, "merge", fails)
        with pytest.raises(TransferkitError, match="no power"):
            extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(2), SILENT)

    with pytest.raises(TransferkitError, match="was begun with other settings, images or shards"):
        extract_shards(replace(SETTINGS, size=32), str(folder), tmp_path / "out.npy", ShardPlan(2), SILENT)
    out = extract_shards(
        replace(SETTINGS, size=32), str(folder), tmp_path / "out.npy", ShardPlan(2), SILENT, overwrite=True
    )
    assert facts_of(out)["input"]["size"] == 32  # type: ignore[index]


def test_a_shard_that_changed_on_the_disk_is_not_merged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sharding.merge

    def after_a_fault(out: Path, paths: list[Path], *rest: object, **options: bool) -> Path:
        content = bytearray(paths[1].read_bytes())
        content[-1] ^= 1
        paths[1].write_bytes(content)
        return real(out, paths, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sharding, "merge", after_a_fault)

    with pytest.raises(MachineError, match=r"00002-of-00003\.npy is damaged: its rows do not have the SHA-256"):
        extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(3), SILENT)


def test_an_unreadable_image_fails_its_shard_alone_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    good = (folder / "dog" / "9.png").read_bytes()
    (folder / "dog" / "9.png").write_bytes(b"no picture")

    with pytest.raises(
        MachineError, match=r"1 of 5 shards failed; the same command tries them again\.\nshard 5 of 5: "
    ):
        extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(5), SILENT)
    assert len(list((tmp_path / "out.npy.shards").glob("*.npy"))) == 4
    (folder / "dog" / "9.png").write_bytes(good)
    out = extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(5), SILENT)

    assert np.load(out).shape[0] == 10


def test_more_shards_than_images_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"its list has 10 images\. Use fewer shards"):
        extract_shards(SETTINGS, str(folder), tmp_path / "out.npy", ShardPlan(11), SILENT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "processes"], "An executor computes shards. Say how many"),
        (["--shards", "2", "--shard", "1/2"], "Use one of both"),
        (["--shards", "2", "--workers", "2"], "workers: 2 has no effect"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["extract", "resnet-mini", "digits", "--out", str(tmp_path / "a.npy"), *options])

    assert message in str(result.exception)


# ---- numbers of 16 bits ----


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_float16_is_the_rounded_features_in_every_kind_of_file(suffix: str, folder: Path, tmp_path: Path) -> None:
    whole = np.load(extract_shards(SETTINGS, str(folder), tmp_path / "a.npy", ShardPlan(3), SILENT))

    out = extract_shards(replace(SETTINGS, dtype="float16"), str(folder), tmp_path / f"b{suffix}", ShardPlan(3), SILENT)

    if suffix == ".npy":
        half = np.load(out)
    elif suffix == ".safetensors":
        half = load_file(out)["stage2"]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        half = np.array(parquet.read_table(out)["stage2"].to_pylist(), np.float16)
    assert half.dtype == np.float16
    assert np.array_equal(half, whole.astype(np.float16))
    assert facts_of(out)["dtype"] == "float16"


def test_features_too_large_for_float16_are_refused_with_a_name() -> None:
    with pytest.raises(
        TransferkitError, match=r"'stage2' gives features above 65,504.*first for b\. Use --dtype float32"
    ):
        narrowed({"stage2": np.array([[1.0], [7e4]], np.float32)}, "float16", ["a", "b"])


# ---- where images lie ----


@pytest.fixture
def memory() -> Iterator[str]:
    """A store behind a URL, in memory."""
    system = fsspec.filesystem("memory")
    yield "memory://photos"
    system.rm("/photos", recursive=True)


def same(out: Path, expected: np.ndarray) -> bool:
    return bool(np.allclose(np.load(out), expected, atol=1e-5 * np.abs(expected).max()))


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_shards_of_images_give_what_a_folder_gives(kind: str, expected: np.ndarray, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    content = {"tar": tar_of, "parquet": parquet_of}[kind]
    for number, rows in enumerate((range(7), range(7, 10))):
        (shards / f"photos-{number}.{kind}").write_bytes(content(rows))

    out = extract_shards(SETTINGS, str(shards), tmp_path / "out.npy", ShardPlan(3), SILENT)

    assert same(out, expected)
    assert [row["class"] for row in index_of(out)] == ["cat"] * 6 + ["dog"] * 4
    last = {"tar": "photos-1.tar/009", "parquet": "photos-1.parquet/2"}[kind]
    assert index_of(out)[-1]["id"] == f"{shards}/{last}"


@pytest.mark.parametrize("kind", ["tar", "parquet", "png"])
def test_images_behind_a_url_give_what_a_folder_gives(
    kind: str, memory: str, folder: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    system = fsspec.filesystem("memory")
    if kind == "png":
        for path in sorted(folder.rglob("*.png")):
            system.pipe(f"/photos/{path.relative_to(folder)}", path.read_bytes())
    else:
        content = {"tar": tar_of, "parquet": parquet_of}[kind]
        for number, rows in enumerate((range(7), range(7, 10))):
            system.pipe(f"/photos/a-{number}.{kind}", content(rows))

    out = extract(SETTINGS, memory, tmp_path / "out.npy", SILENT)

    assert same(out, expected)
    assert [row["class"] for row in index_of(out)] == ["cat"] * 6 + ["dog"] * 4
    assert index_of(out)[0]["id"].startswith("memory://")


def test_an_unreadable_image_of_a_shard_is_left_out_when_asked(tmp_path: Path) -> None:
    content = tar_of(range(4)).replace(picture(2), b"x" * len(picture(2)))
    (tmp_path / "a.tar").write_bytes(content)
    out = tmp_path / "out.npy"

    with pytest.raises(TransferkitError, match=r"a\.tar/002: .*--skip-bad leaves such images out"):
        extract(SETTINGS, str(tmp_path / "a.tar"), out, SILENT)
    extract(replace(SETTINGS, skip_bad=True), str(tmp_path / "a.tar"), out, SILENT, overwrite=True)

    assert [Path(row["id"]).name for row in index_of(out)] == ["000", "001", "003"]


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(gzip.compress(tar_of(range(3))))

    with pytest.raises(TransferkitError, match=r"a\.tar is no tar file, or damaged or compressed"):
        extract(SETTINGS, str(tmp_path / "a.tar"), tmp_path / "out.npy", SILENT)


def test_a_store_whose_package_is_missing_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)

    with pytest.raises(TransferkitError, match=r"^Cannot open 's3://bucket/a\.tar': Install s3fs .* pip install s3fs$"):
        remote.read_span("s3://bucket/a.tar", 0, 10)


def test_a_web_address_says_which_packages_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ImportError('HTTPFileSystem requires "requests" and "aiohttp" to be installed')

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)

    with pytest.raises(TransferkitError, match=r"installed\. Type: pip install aiohttp requests$"):
        remote.read_span("https://example.com/a.tar", 0, 10)


# ---- elsewhere ----


@pytest.mark.scale
@pytest.mark.parametrize("executor", ["processes", "slurm", "ray"])
def test_a_killed_worker_is_survived_and_the_bytes_are_those_made_here(executor: str, tmp_path: Path) -> None:
    """20,000 tiny images in 16 shards."""
    content = [picture(number) for number in range(40)]
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(4):
        with tarfile.open(shards / f"{number}.tar", "w") as archive:
            for row in range(5000):
                member = tarfile.TarInfo(f"{row:05d}.png")
                member.size = len(content[(row + number) % 40])
                archive.addfile(member, io.BytesIO(content[(row + number) % 40]))
    settings = replace(SETTINGS, size=8, batch_size=125, dtype="float16")
    here = extract_shards(settings, str(shards), tmp_path / "here.npy", ShardPlan(16), SILENT)
    killer = Killer(tmp_path / "out.npy.shards", "*.partial")
    killer.start()

    out = extract_shards(settings, str(shards), tmp_path / "out.npy", ShardPlan(16, executor, 2), SILENT)
    killer.over = True

    assert killer.victim
    assert out.read_bytes() == here.read_bytes()
    assert index_of(out) == index_of(here)
    assert facts_of(out) == facts_of(here)
