"""Extraction writes what FeatureExtractor gives, in pieces: it goes on after a kill, and shards make the whole."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.data.decoding import decode
from transferkit.features import caches
from transferkit.features.extraction import chunks, lazy_pictures, streaming
from transferkit.features.extraction import files as feature_files
from transferkit.features.extraction.merging import merge
from transferkit.features.extraction.settings import ExtractSettings, parsed_shard
from transferkit.features.extraction.sources import data_settings
from transferkit.features.extraction.streaming import extract
from transferkit.features.extractor import FeatureExtractor
from transferkit.features.layer_network import LayerNetwork
from transferkit.models import backbones
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings, from_options
from transferkit.run import save_model
from transferkit.runs.run_directory import Run
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError

SETTINGS = ExtractSettings("resnet-mini", ("stage2",), weights="none", size=16, device="cpu", threads=2, batch_size=4)
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TRANSFERKIT_TEST_DATA", "~/.cache/transferkit-test-data")).expanduser()
TINY_IMAGENET = DATA / "weights" / "resnet18-tiny-imagenet.safetensors"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures in two class folders, each of another colour."""
    for number in range(10):
        place = tmp_path / "pets" / ("cat" if number < 6 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (25 * number, 100, 255 - 25 * number)).save(place / f"{number}.png")
    return tmp_path / "pets"


def listening() -> tuple[Console, Callable[[], str]]:
    stream = io.StringIO()
    return Console(stream=stream), lambda: " ".join(stream.getvalue().split())


def expected_features(folder: Path, layer: str = "stage2") -> np.ndarray:
    """The independent source: everything at once, in memory."""
    extractor = FeatureExtractor("resnet-mini", weights="none", size=16, layer=layer, device="cpu", store=False)
    return extractor.transform(folder)


def index_of(out: Path) -> list[dict[str, str]]:
    with out.with_name(out.name + ".index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def facts_of(out: Path) -> dict[str, Any]:
    return dict(json.loads(out.with_name(out.name + ".json").read_text()))


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.usefixtures("small_chunks")
def test_npy_holds_the_features_in_order_and_the_index_beside_it_says_of_what(folder: Path, tmp_path: Path) -> None:
    out = extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT)

    index, facts = index_of(out), facts_of(out)
    assert np.allclose(np.load(out), expected_features(folder), atol=1e-6)
    assert [Path(line["id"]).name for line in index] == [f"{number}.png" for number in range(10)]
    assert [line["class"] for line in index] == ["cat"] * 6 + ["dog"] * 4
    assert [line["label"] for line in index] == ["0"] * 6 + ["1"] * 4
    assert (facts["class_names"], facts["rows"], facts["shapes"]) == (["cat", "dog"], 10, {"stage2": [64]})
    assert len(facts["weights_digest"]) == 64
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.npy", "out.npy.index.csv", "out.npy.json"]


@pytest.mark.usefixtures("small_chunks")
def test_safetensors_holds_a_tensor_per_layer_that_the_library_reads(folder: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, layers=("stage1", "penultimate"))

    tensors = load_file(extract(settings, str(folder), tmp_path / "out.safetensors", SILENT))

    assert {name: value.shape for name, value in tensors.items()} == {"stage1": (10, 32), "penultimate": (10, 128)}
    for name, value in tensors.items():
        assert np.allclose(value, expected_features(folder, name), atol=1e-6)


@pytest.mark.usefixtures("small_chunks")
def test_csv_holds_ids_classes_and_exact_numbers(folder: Path, tmp_path: Path) -> None:
    exact = np.load(extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT))

    out = extract(SETTINGS, str(folder), tmp_path / "out.csv", SILENT)

    with out.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header[:5] == ["id", "class", "part", "stage2_0", "stage2_1"]
    assert [line[1] for line in lines] == ["cat"] * 6 + ["dog"] * 4
    assert np.array_equal(np.array([line[3:] for line in lines], np.float32), exact)


@pytest.mark.usefixtures("small_chunks")
def test_parquet_holds_a_list_per_layer(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'transferkit[parquet]'")

    table = parquet.read_table(extract(SETTINGS, str(folder), tmp_path / "out.parquet", SILENT))

    assert table.column_names == ["id", "class", "part", "stage2"]
    assert table["class"].to_pylist() == ["cat"] * 6 + ["dog"] * 4
    assert np.allclose(np.array(table["stage2"].to_pylist()), expected_features(folder), atol=1e-6)


def test_parquet_without_pyarrow_says_what_to_install_before_any_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(TransferkitError, match=r'pip install "transferkit\[parquet\]"'):
        extract(SETTINGS, str(folder), tmp_path / "out.parquet", SILENT)


def test_unpooled_maps_keep_their_shape(folder: Path, tmp_path: Path) -> None:
    out = extract(replace(SETTINGS, pool="none"), str(folder), tmp_path / "out.npy", SILENT)

    maps = np.load(out)
    assert maps.shape == (10, 64, 8, 8)
    assert np.allclose(maps.mean((2, 3)), expected_features(folder), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("out.txt", {}, r"Unknown kind of file '.txt'. .*Available: .csv, .npy, .parquet, .safetensors"),
        ("out.npy", {"layers": ("stage1", "stage2")}, r"A .npy file holds one layer. Use a .safetensors"),
        ("out.csv", {"pool": "none"}, r"A .csv file cannot hold maps"),
        ("out.npy", {"layers": ("stage9",)}, r"Unknown layer 'stage9'. Did you mean 'stage"),
        ("out.npy", {"shard": (3, 100)}, r"Shard 3/100 is empty: its list has 10 images"),
    ],
)
def test_what_cannot_go_together_is_refused(
    name: str, changes: dict[str, Any], message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(TransferkitError, match=message):
        extract(replace(SETTINGS, **changes), str(folder), tmp_path / name, SILENT)


def test_a_file_that_exists_is_replaced_only_when_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    out.write_text("precious")

    with pytest.raises(
        TransferkitError, match=r"exists\. Choose another file with --out, or replace it with --overwrite"
    ):
        extract(SETTINGS, str(folder), out, SILENT)
    assert out.read_text() == "precious"

    extract(SETTINGS, str(folder), out, SILENT, overwrite=True)
    assert np.load(out).shape == (10, 64)


# -------------------------------------------------------------------------------------------------------- which images


def test_a_glob_takes_matching_files_in_order(folder: Path, tmp_path: Path) -> None:
    out = extract(SETTINGS, str(folder / "*" / "[3-7].png"), tmp_path / "out.npy", SILENT)

    assert [Path(line["id"]).stem for line in index_of(out)] == ["3", "4", "5", "6", "7"]
    assert [line["class"] for line in index_of(out)] == ["cat"] * 3 + ["dog"] * 2


def test_a_csv_gives_paths_relative_to_itself_and_labels(folder: Path, tmp_path: Path) -> None:
    (folder / "some.csv").write_text("path,label\ndog/8.png,brown\ncat/1.png,black\n")

    out = extract(SETTINGS, str(folder / "some.csv"), tmp_path / "out.npy", SILENT)

    assert [line["class"] for line in index_of(out)] == ["brown", "black"]
    assert [line["label"] for line in index_of(out)] == ["1", "0"]
    assert np.allclose(np.load(out), expected_features(folder)[[8, 1]], atol=1e-6)


def test_a_csv_without_labels_has_no_classes(folder: Path, tmp_path: Path) -> None:
    (folder / "some.csv").write_text("path\ndog/8.png\n")

    out = extract(SETTINGS, str(folder / "some.csv"), tmp_path / "out.npy", SILENT)

    assert (index_of(out)[0]["class"], index_of(out)[0]["label"], facts_of(out)["class_names"]) == ("", "", [])


def test_a_csv_without_paths_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("file,label\na.png,x\n")

    with pytest.raises(
        TransferkitError, match=r"has no column path; its first line is 'file,label'. Expected a first line path"
    ):
        extract(SETTINGS, str(tmp_path / "some.csv"), tmp_path / "out.npy", SILENT)


def test_images_directly_inside_the_folder_have_no_class(folder: Path, tmp_path: Path) -> None:
    out = extract(SETTINGS, str(folder / "cat"), tmp_path / "out.npy", SILENT)

    assert {line["class"] for line in index_of(out)} == {""}


def test_a_data_set_gives_train_and_val_and_says_which_is_which(tmp_path: Path) -> None:
    from transferkit.data import datasets

    splits = datasets.load(data_settings("digits"), SILENT)

    out = extract(replace(SETTINGS, batch_size="auto"), "digits", tmp_path / "out.npy", SILENT)

    parts = [line["part"] for line in index_of(out)]
    assert parts == ["train"] * len(splits.train) + ["val"] * len(splits.val)
    assert [line["id"] for line in index_of(out)] == [*splits.train.ids, *splits.val.ids]
    assert [int(line["label"]) for line in index_of(out)] == [*splits.train.labels, *splits.val.labels]
    extractor = FeatureExtractor("resnet-mini", weights="none", size=16, layer="stage2", device="cpu", store=False)
    expected = np.concatenate([extractor.transform(splits.train), extractor.transform(splits.val)])
    assert np.allclose(np.load(out), expected, atol=1e-5)


def test_opening_the_test_images_of_a_data_set_is_said_aloud(tmp_path: Path) -> None:
    console, said = listening()

    out = extract(replace(SETTINGS, part="test", batch_size="auto"), "digits", tmp_path / "out.npy", console)

    assert "opened the 898 test images of digits" in said()
    assert {line["part"] for line in index_of(out)} == {"test"}


def test_an_empty_folder_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(TransferkitError, match="holds no images"):
        extract(SETTINGS, str(tmp_path / "empty"), tmp_path / "out.npy", SILENT)

    assert list(tmp_path.glob("out*")) == []


def test_a_word_that_means_no_images_names_the_nearest_data_set(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"no images at 'cifar11'.* Did you mean 'cifar10'"):
        extract(SETTINGS, "cifar11", tmp_path / "out.npy", SILENT)


@pytest.mark.usefixtures("small_chunks")
def test_an_unreadable_file_stops_with_its_name_or_is_left_out_when_asked(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "3.png").write_bytes(b"")
    out = tmp_path / "out.npy"

    with pytest.raises(TransferkitError, match=r"3\.png: the file is empty .* --skip-bad leaves such files out"):
        extract(SETTINGS, str(folder), out, SILENT)
    extract(replace(SETTINGS, skip_bad=True), str(folder), out, SILENT, overwrite=True)

    assert np.load(out).shape == (9, 64)
    assert [Path(line["id"]).stem for line in index_of(out)] == list("012456789")
    assert [Path(path).name for path, _ in facts_of(out)["skipped"]] == ["3.png"]


def test_files_of_other_bands_say_what_to_do_instead(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    np.save(folder / "a.npy", np.zeros((16, 16, 5), np.uint8))

    with pytest.raises(TransferkitError, match=r"a\.npy has 5 bands, .* save three of .*\(transferkit probe BACKBONE"):
        extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT)


# ------------------------------------------------------------------------------------------------- kills and shards


@pytest.mark.usefixtures("small_chunks")
def test_finished_chunks_are_not_computed_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    plain = lazy_pictures.decode

    def failing(path: str, *arguments: Any) -> np.ndarray:
        decoded.append(Path(path).stem)
        if len(decoded) > 6:
            raise KeyboardInterrupt
        return plain(path, *arguments)

    monkeypatch.setattr(lazy_pictures, "decode", failing)
    with pytest.raises(KeyboardInterrupt):
        extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT)
    monkeypatch.setattr(
        lazy_pictures, "decode", lambda path, *rest: (decoded.append(Path(path).stem), plain(path, *rest))[1]
    )
    decoded.clear()
    console, said = listening()

    out = extract(SETTINGS, str(folder), tmp_path / "out.npy", console)

    assert sorted(decoded) == ["4", "5", "6", "7", "8", "9"]
    assert "1 of 3 chunks are there already" in said()
    assert np.allclose(np.load(out), expected_features(folder), atol=1e-6)
    assert not (tmp_path / "out.npy.partial").exists()


KILLED = """
import sys, time
from pathlib import Path
from transferkit.features.extraction import chunks, lazy_pictures
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.streaming import extract
from transferkit.runtime.console import SILENT

chunks.CHUNK_ROWS = 4
plain = lazy_pictures.decode
lazy_pictures.decode = lambda *arguments: (time.sleep(0.05), plain(*arguments))[1]
settings = ExtractSettings(
    "resnet-mini", ("stage2",), weights="none", size=16, device="cpu", threads=2, batch_size=4, precision=sys.argv[3]
)
extract(settings, sys.argv[1], Path(sys.argv[2]), SILENT)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
def test_an_extraction_killed_without_warning_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    for number in range(10, 80):
        Image.new("RGB", (16, 16), (3 * number, 100, 255 - 3 * number)).save(folder / "dog" / f"{number}.png")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    precision = machine.choose_precision(
        torch.device("cpu"), "auto"
    )  # which --bf16-units changes in this process alone
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(out), precision], env=environment)
    while not list(tmp_path.glob("out.npy.partial/chunk-*")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.npy.partial").glob("chunk-*.safetensors")}
    console, said = listening()

    extract(SETTINGS, str(folder), out, console)

    assert 1 <= len(there) < 20
    assert f"{len(there)} of 20 chunks are there already" in said()
    assert np.allclose(np.load(out), expected_features(folder), atol=1e-6)


@pytest.mark.usefixtures("small_chunks")
def test_a_half_written_chunk_is_computed_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, partial = tmp_path / "out.npy", tmp_path / "out.npy.partial"
    monkeypatch.setattr(streaming, "finish", lambda *_: out)
    extract(SETTINGS, str(folder), out, SILENT)
    chunk = partial / "chunk-000001.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-40])
    monkeypatch.undo()
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)

    extract(SETTINGS, str(folder), out, SILENT)

    assert np.allclose(np.load(out), expected_features(folder), atol=1e-6)


def test_a_partial_extraction_with_other_settings_is_named_and_not_mixed_in(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.npy"
    monkeypatch.setattr(streaming, "finish", lambda *_: out)
    extract(replace(SETTINGS, layers=("stage1",)), str(folder), out, SILENT)
    monkeypatch.undo()

    with pytest.raises(
        TransferkitError, match=r"was begun otherwise: shapes .*\. Repeat that command to finish it, or"
    ):
        extract(SETTINGS, str(folder), out, SILENT)

    extract(SETTINGS, str(folder), out, SILENT, overwrite=True)
    assert np.load(out).shape == (10, 64)


def test_a_partial_extraction_of_images_that_changed_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.npy"
    monkeypatch.setattr(streaming, "finish", lambda *_: out)
    extract(SETTINGS, str(folder), out, SILENT)
    (folder / "cat" / "0.png").unlink()

    with pytest.raises(TransferkitError, match=r"was begun otherwise: listing .*, images in all \(10, 9\)"):
        extract(SETTINGS, str(folder), out, SILENT)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".csv", ".parquet"])
def test_shards_merged_in_any_order_make_the_whole_file(suffix: str, folder: Path, tmp_path: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'transferkit[parquet]'")
    shards = [
        extract(replace(SETTINGS, shard=(number, 3)), str(folder), tmp_path / f"part-{number}{suffix}", SILENT)
        for number in (1, 2, 3)
    ]

    whole = merge(tmp_path / "whole.npy", shards[::-1], SILENT)

    assert [facts_of(shard)["rows"] for shard in shards] == [3, 3, 4]
    assert np.allclose(np.load(whole), expected_features(folder), atol=1e-6)
    assert [Path(line["id"]).stem for line in index_of(whole)] == list("0123456789")
    assert [line["row"] for line in index_of(whole)] == list("0123456789")
    assert (facts_of(whole)["rows"], facts_of(whole)["shard"]) == (10, [1, 1])


def test_shards_that_do_not_make_a_whole_are_refused_with_what_is_missing(folder: Path, tmp_path: Path) -> None:
    one, two = (
        extract(replace(SETTINGS, shard=(number, 3)), str(folder), tmp_path / f"{number}.npy", SILENT)
        for number in (1, 2)
    )
    other = extract(replace(SETTINGS, shard=(3, 3), pool="max"), str(folder), tmp_path / "3.npy", SILENT)

    with pytest.raises(TransferkitError, match=r"not the 3 shards of one extraction \(missing: 3; given twice: none"):
        merge(tmp_path / "whole.npy", [one, two], SILENT)
    with pytest.raises(TransferkitError, match="missing: 2, 3; given twice: 1"):
        merge(tmp_path / "whole.npy", [one, one], SILENT)
    with pytest.raises(TransferkitError, match=r"3\.npy and .*1\.npy are not of one .* differ in pool \(max, avg\)\."):
        merge(tmp_path / "whole.npy", [one, two, other], SILENT)
    with pytest.raises(TransferkitError, match="There is no file"):
        merge(tmp_path / "whole.npy", [tmp_path / "none.npy"], SILENT)


@pytest.mark.parametrize("text", ["3", "0/2", "3/2", "a/b", "1/"])
def test_a_shard_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(TransferkitError, match="Expected NUMBER/COUNT"):
        parsed_shard(text)


def test_rows_are_read_in_the_pieces_asked_for(tmp_path: Path) -> None:
    values = np.arange(21, dtype=np.float32).reshape(7, 3)
    rows = feature_files.Rows(["x"] * 7, [""] * 7, [""] * 7, {"layer": values})
    content = feature_files.FeatureTable(7, {"layer": (3,)}, lambda: [rows])

    for suffix in (".npy", ".safetensors", ".csv"):
        path = tmp_path / f"file{suffix}"
        feature_files.WRITERS[suffix](path, content)
        pieces = [piece["layer"] for piece in feature_files.READERS[suffix](path, {"layer": (3,)}, 3)]

        assert [len(piece) for piece in pieces] == [3, 3, 1]
        assert np.array_equal(np.concatenate(pieces), values)


# ----------------------------------------------------------------------------------------------------------- commands


def test_the_commands_extract_and_merge_and_tell_of_the_caches(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    options = ["--weights", "none", "--size", "16", "--layer", "stage2", "--device", "cpu", "--threads", "2"]
    shards = [str(tmp_path / f"{number}.npy") for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        arguments = ["extract", "resnet-mini", str(folder), "--out", shard, "--shard", f"{number}/2", *options]
        assert runner.invoke(app, arguments, catch_exceptions=False).exit_code == 0

    result = runner.invoke(app, ["merge", str(tmp_path / "whole.npy"), *shards], catch_exceptions=False)

    assert result.exit_code == 0
    assert np.allclose(np.load(tmp_path / "whole.npy"), expected_features(folder), atol=1e-6)


def test_the_cache_commands_count_and_clear_what_is_stored(folder: Path, both_precisions: str) -> None:
    FeatureExtractor("resnet-mini", weights="none", size=16, layer="stage2", device="cpu").transform(folder)
    runner = CliRunner()

    listed = runner.invoke(app, ["cache", "list"], catch_exceptions=False).stdout
    cleared = runner.invoke(app, ["cache", "clear", "features"], catch_exceptions=False).stdout
    after = runner.invoke(app, ["cache", "list"], catch_exceptions=False).stdout

    words = " ".join(listed.split())
    assert "features resnet-mini (random initialisation), layer 10 0.0 MB " in words
    assert f"stage2, 16 px, {both_precisions}-cpu" in words
    assert "features: 0.0 MB freed" in cleared
    assert "stage2" not in after


def test_the_size_of_the_caches_names_budget_and_folders() -> None:
    lines = list(caches.sizes())

    names = " ".join(line.split()[0] for line in lines)
    assert names == "features images downloads sheets given torch timm"
    assert "of 20.0 GB (TRANSFERKIT_FEATURE_BUDGET)" in lines[0]


def test_clearing_an_unknown_cache_names_the_known_ones() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown cache 'feature'\. Did you mean 'features'"):
        caches.clear_caches("feature")


def test_help_imports_neither_torch_nor_numpy() -> None:
    script = "import sys, transferkit.cli.features; print({'torch', 'numpy', 'sklearn'} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert done.stdout.strip() == "set()"


# -------------------------------------------------------------------------------------------------------- slow and real

MEMORY = """
import resource, sys
import numpy as np
from pathlib import Path
from transferkit.features.extraction import lazy_pictures, sources
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.streaming import extract
from transferkit.runtime.console import SILENT

black = np.zeros((3, 16, 16), np.uint8)
lazy_pictures.decode = lambda *_: black
numbers = range(int(sys.argv[1]))
sources.image_paths = lambda folder: (folder / f"{number % 100:02d}" / f"{number:07d}.png" for number in numbers)
settings = ExtractSettings("resnet-mini", ("stem",), weights="none", size=8, device="cpu", threads=2)
extract(settings, sys.argv[2], Path(sys.argv[2]) / "out.npy", SILENT)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_peak_memory_stays_flat_from_two_thousand_to_forty_thousand_images(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    peaks = []
    for count in (2_000, 40_000):
        place = tmp_path / str(count)
        place.mkdir()
        command = [sys.executable, "-c", MEMORY, str(count), str(place)]
        peaks.append(int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout))
        assert np.load(place / "out.npy", mmap_mode="r").shape == (count, 32)

    assert peaks[1] <= 1.2 * peaks[0]


@pytest.mark.real
@pytest.mark.skipif(not TINY_IMAGENET.exists(), reason=f"{TINY_IMAGENET} is missing; set TRANSFERKIT_TEST_DATA")
def test_real_photographs_come_out_with_their_classes_as_the_extractor_gives_them(tmp_path: Path) -> None:
    settings = replace(SETTINGS, backbone="resnet18", layers=("layer4",), weights=str(TINY_IMAGENET), size=64)
    out = extract(
        replace(settings, batch_size="auto"), str(DATA / "textures" / "b*" / "*.jpg"), tmp_path / "out.npy", SILENT
    )

    paths = [line["id"] for line in index_of(out)]
    extractor = FeatureExtractor("resnet18", layer="layer4", weights=str(TINY_IMAGENET), size=64, store=False)
    assert facts_of(out)["class_names"] == ["banded", "blotchy", "braided", "bubbly", "bumpy"]
    assert np.allclose(np.load(out)[::50], extractor.transform(paths[::50]), atol=1e-4)


@pytest.mark.parametrize("views", [{"averages_mirror": True}, {"averages_shifts": True}, {}])
def test_features_of_a_run_that_answers_from_several_views_are_of_the_image_alone_and_that_is_said(
    views: dict[str, bool], folder: Path, tmp_path: Path, both_precisions: str
) -> None:
    torch.manual_seed(1)
    settings = BackboneSettings(name="resnet-mini", weights="none")
    classifier = backbones.load(settings, ("cat", "dog"), 16, SILENT).eval()
    recipe = from_options("scratch", "resnet-mini", "digits", {}, ())
    run = Run(tmp_path / "run")
    save_model(run, classifier, recipe, machine.start("cpu", "fp32"), rejection.fit(None))
    run.write_model(replace(run.model, **views))
    console, said = listening()
    pixels = np.stack([decode(path, 16, "squash") for path in sorted(folder.rglob("*.png"))])
    wanted = replace(SETTINGS, layers=("penultimate",), weights=str(run.path))

    out = extract(wanted, str(folder), tmp_path / "f.npy", console)

    runtime = machine.start("cpu", both_precisions)
    network = LayerNetwork(classifier, ["penultimate"], "avg", runtime, SILENT)
    assert np.load(out) == pytest.approx(network(torch.from_numpy(pixels))["penultimate"].numpy(), abs=1e-5)
    assert ("answers from several views of an image" in said()) == bool(views)


# ---- whose files ----


@pytest.mark.parametrize("name", ["out.npy.index.csv", "out.npy.json"])
def test_files_of_ones_own_beside_the_features_are_not_replaced(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"mine": 1}')

    with pytest.raises(TransferkitError, match=rf"{name} was not written by transferkit extract. Choose another file"):
        extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT, overwrite=True)

    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_a_folder_of_ones_own_where_parts_are_to_wait_is_left_alone(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "out.npy.partial" / "chunk-000000.safetensors"
    mine.parent.mkdir()
    mine.write_text("mine")

    with pytest.raises(TransferkitError, match=r"out\.npy\.partial holds other files"):
        extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT, overwrite=True)

    assert mine.read_text() == "mine"


def test_partial_files_of_a_killed_extraction_are_removed_by_the_next(folder: Path, tmp_path: Path) -> None:
    for name in (".out.npy.ab12cd34.partial", ".out.npy.json.ab12cd34.partial", ".film.mp4.ab12cd34.partial"):
        (tmp_path / name).touch()

    extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT)

    assert [path.name for path in tmp_path.glob(".*.partial")] == [".film.mp4.ab12cd34.partial"]


def test_what_a_kill_at_the_very_end_left_is_cleaned_up_by_the_next_call(folder: Path, tmp_path: Path) -> None:
    extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT)
    (tmp_path / "out.npy.partial").mkdir()
    (tmp_path / "out.npy.partial" / ".transferkit.lock").touch()

    with pytest.raises(TransferkitError, match="exists"):
        extract(SETTINGS, str(folder), tmp_path / "out.npy", SILENT)

    assert not (tmp_path / "out.npy.partial").exists()
