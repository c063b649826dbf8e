"""Every data set of the menu: small archives in the official formats, folders of every layout, and what goes wrong."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from data_findings import found
from PIL import Image

from transferkit.data import datasets
from transferkit.data.datasets import content_check, folder_cache, folder_workers, glyphs
from transferkit.data.images import SealedImages, Splits
from transferkit.data.reading import Reading
from transferkit.features import caches
from transferkit.recipe import (
    DATA_MODELS,
    Cifar10Data,
    Cifar100Data,
    DigitsData,
    FolderData,
    GlyphsData,
    SvhnData,
)
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


# ---------------------------------------------------------------------------------------------------- menu


@pytest.mark.parametrize("test_part", [True, False])
def test_a_few_of_a_folder_are_training_images_and_no_others_are_decoded(pets: Path, test_part: bool) -> None:
    if not test_part:
        shutil.rmtree(pets / "test")
    settings = FolderData(name="folder", path=pets, test_fraction=0.5)

    few = datasets.few(settings, 3)
    is_decoded = (cache_folder() / "images").exists()
    expected = datasets.load(settings, SILENT).train.spread(3)

    assert not is_decoded
    assert few.ids == expected.ids
    assert np.array_equal(few.pixels, expected.pixels)


def test_menu_cards_and_recipe_name_the_same_data_sets() -> None:
    in_recipe = [get_args(model.model_fields["name"].annotation)[0] for model in DATA_MODELS.values()]

    assert list(DATA_MODELS) == in_recipe
    assert [card.name.partition(":")[0] for card in datasets.cards()] == in_recipe


def test_cards_need_neither_torch_nor_sklearn_nor_numpy() -> None:
    code = (
        "import sys; from transferkit.data import datasets; assert len(datasets.cards()) >= 6; "
        "print([name for name in ('torch', 'sklearn', 'numpy', 'PIL', 'rich') if name in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert found.stdout.strip() == "[]"


def test_decoding_processes_do_not_import_torch() -> None:
    code = "import sys, transferkit.data.datasets.folder_workers; print('torch' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert found.stdout.strip() == "False"


ROOT = Path(__file__).parents[2]


# --------------------------------------------------------------------------------------------------- CIFAR


def python2_pickle(value: Any) -> bytes:
    """Protocol 2 as Python 2 writes it: byte strings, and arrays through numpy.core.multiarray."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _opcodes(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + _opcodes(value.dtype.str[1:].encode()) + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + _opcodes(value.dtype.str[:1].encode()) + b"NNN" + 2 * _opcodes(-1) + b"K\x00tb"
    shape = b"(" + b"".join(map(_opcodes, value.shape)) + b"t"
    return empty + b"(K\x01" + shape + kind + b"\x89" + _opcodes(value.tobytes()) + b"tb"


def cifar_files(classes: int, batches: dict[str, int], names: tuple[str, bytes], key: bytes) -> dict[str, bytes]:
    generator = np.random.default_rng(0)
    files = {names[0]: python2_pickle({names[1]: [f"class{index}".encode() for index in range(classes)]})}
    for batch, count in batches.items():
        data = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [index % classes for index in range(count)]
        files[batch] = python2_pickle({b"batch_label": b"a batch", key: labels, b"data": data})
    return files


def cifar10_files() -> dict[str, bytes]:
    batches = {f"data_batch_{number}": 20 for number in range(1, 6)} | {"test_batch": 20}
    return cifar_files(10, batches, ("batches.meta", b"label_names"), b"labels")


def written(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def packed(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def cifar10(root: Path) -> Splits:
    return datasets.load(Cifar10Data(name="cifar10", root=root), SILENT)


def test_cifar10_batches_become_images_with_names_and_the_publishers_split(tmp_path: Path) -> None:
    files = cifar10_files()
    splits = cifar10(written(tmp_path / "cifar-10-batches-py", files))

    assert splits.class_names == tuple(f"class{index}" for index in range(10))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (90, 10, 20)
    assert splits.train.size_px == (32, 32)


def test_a_cifar_row_holds_the_red_then_the_green_then_the_blue_plane(tmp_path: Path) -> None:
    files = cifar10_files()
    planes = np.repeat(np.array([[1, 2, 3]], np.uint8), 1024, axis=1).reshape(1, 3072).repeat(20, axis=0)
    files["test_batch"] = python2_pickle({b"labels": [index % 10 for index in range(20)], b"data": planes})

    test = cifar10(written(tmp_path / "batches", files)).test.open()

    assert test.pixels[0].reshape(3, -1).mean(axis=1).tolist() == [1, 2, 3]


def test_folder_folder_above_and_archive_of_cifar10_give_the_same_images(tmp_path: Path) -> None:
    files = cifar10_files()
    inside = written(tmp_path / "a" / "cifar-10-batches-py", files)
    archive = packed(tmp_path / "b" / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)

    found = {cifar10(root).train.fingerprint for root in (inside, inside.parent, archive, archive.parent)}

    assert len(found) == 1


def test_cifar100_reads_the_fine_labels(tmp_path: Path) -> None:
    files = cifar_files(100, {"train": 400, "test": 100}, ("meta", b"fine_label_names"), b"fine_labels")
    packed(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)

    splits = datasets.load(Cifar100Data(name="cifar100", root=tmp_path, val_fraction=0.25), SILENT)

    assert (len(splits.class_names), len(splits.train), len(splits.val), len(splits.test)) == (100, 300, 100, 100)


def test_a_downloaded_archive_is_unpacked_once_into_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    from transferkit.data.datasets import cifar_batches

    asked = []

    def deliver(urls: tuple[str, ...], to: Path, **options: Any) -> Path:
        asked.append((urls[0], options["sha256"][:8]))
        return packed(to, "cifar-10-batches-py", cifar10_files())

    monkeypatch.setattr(cifar_batches, "fetch", deliver)

    first, second = (datasets.load(Cifar10Data(name="cifar10"), SILENT) for _ in range(2))

    assert asked == [("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "6d958be0")]
    assert first.train.fingerprint == second.train.fingerprint
    assert (cache_folder() / "datasets" / "cifar-10-batches-py").is_dir()


def test_a_pickle_with_code_is_refused_before_it_runs_and_the_global_is_named(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    files = cifar10_files()
    files["data_batch_3"] = b"\x80\x02cos\nmkdir\n" + _opcodes(str(trap).encode()) + b"\x85R."

    with pytest.raises(TransferkitError, match=r"Refused to read data_batch_3: it asks for os\.mkdir"):
        cifar10(written(tmp_path / "batches", files))
    assert not trap.exists()


@pytest.mark.parametrize(
    "name", ["numpy.load", "numpy.core.multiarray.fromfile", "builtins.eval", "copyreg._reconstructor"]
)
def test_nothing_but_array_globals_is_admitted(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    files = cifar10_files()
    files["batches.meta"] = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"."

    with pytest.raises(TransferkitError, match=f"it asks for {name}".replace(".", r"\.")):
        cifar10(written(tmp_path / "batches", files))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no pickle", "data_batch_1 is damaged"),
        (python2_pickle([1, 2]), "data_batch_1 must hold a dict; found list"),
        (python2_pickle({b"labels": [0]}), "data_batch_1 has no data; found labels"),
        (python2_pickle({b"labels": [0], b"data": np.zeros((1, 30), np.uint8)}), r"found uint8 \(1, 30\)"),
        (python2_pickle({b"labels": [0], b"data": [1]}), r"must be a uint8 array \(N, 3072\); found list"),
    ],
    ids=["noise", "list", "no data", "shape", "no array"],
)
def test_a_damaged_batch_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=message):
        cifar10(written(tmp_path / "batches", cifar10_files() | {"data_batch_1": content}))


def test_a_missing_batch_and_a_folder_without_cifar_are_told(tmp_path: Path) -> None:
    files = cifar10_files()
    del files["data_batch_4"]

    with pytest.raises(TransferkitError, match=r"Cannot read .*data_batch_4: No such file"):
        cifar10(written(tmp_path / "batches", files))
    with pytest.raises(TransferkitError, match=r"holds no CIFAR-10\. Expected cifar-10-python\.tar\.gz"):
        cifar10(tmp_path)


def test_without_a_network_cifar10_says_what_works_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from transferkit.data.datasets import cifar10 as module

    monkeypatch.setattr(module, "ARCHIVE", replace(module.ARCHIVE, urls=("http://127.0.0.1:9/cifar-10-python.tar.gz",)))

    with pytest.raises(MachineError, match=r"(?s)CIFAR-10 .*by hand at .*--data digits, --data glyphs"):
        datasets.load(Cifar10Data(name="cifar10"), SILENT)


# -------------------------------------------------------------------------------------- SVHN, digits, glyphs


def svhn_file(path: Path, count: int = 40) -> None:
    from scipy.io import savemat

    labels = np.arange(count)[:, None] % 10 + 1
    pixels = np.zeros((32, 32, 3, count), np.uint8)
    pixels[0, 5, 2] = labels[:, 0]
    savemat(path, {"X": pixels, "y": labels.astype(np.uint8)})


def test_svhn_reads_label_10_as_the_digit_0_and_keeps_rows_columns_and_channels(tmp_path: Path) -> None:
    svhn_file(tmp_path / "train_32x32.mat")
    svhn_file(tmp_path / "test_32x32.mat", 20)

    test = datasets.load(SvhnData(name="svhn", root=tmp_path), SILENT).test.open()

    assert test.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert test.pixels[:10, 2, 0, 5].tolist() == list(range(1, 11))
    assert test.class_names == tuple("0123456789")


def test_svhn_names_a_missing_and_a_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"has no file train_32x32\.mat\. Put it there"):
        datasets.load(SvhnData(name="svhn", root=tmp_path), SILENT)
    (tmp_path / "train_32x32.mat").write_bytes(b"x" * 200)
    with pytest.raises(TransferkitError, match=r"train_32x32\.mat is no SVHN file"):
        datasets.load(SvhnData(name="svhn", root=tmp_path), SILENT)


def test_digits_keep_their_size_and_scale_16_to_255() -> None:
    from sklearn.datasets import load_digits

    splits = datasets.load(DigitsData(name="digits"), SILENT)
    everything = (splits.train, splits.val, splits.test.open())

    assert sum(map(len, everything)) == 1797
    assert splits.train.size_px == (8, 8)
    assert len({name for images in everything for name in images.ids}) == 1797
    index = int(splits.train.ids[0].removeprefix("digit-"))
    expected = np.rint(load_digits().images[index] / 16 * 255)
    assert np.array_equal(splits.train.pixels[0], np.stack([expected] * 3))


def test_glyphs_are_the_same_twice_and_others_with_another_seed() -> None:
    first, second, third = (
        datasets.load(GlyphsData(name="glyphs", per_class=6, drawing_seed=seed), SILENT) for seed in (0, 0, 1)
    )

    assert first.train.fingerprint == second.train.fingerprint
    assert first.train.fingerprint != third.train.fingerprint
    assert first.class_names == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_glyphs_come_from_fonts_in_which_all_letters_differ() -> None:
    fonts = glyphs.fonts()

    assert len(fonts) >= 12
    for font in fonts:
        masks = glyphs._letter_masks(font, 16)
        assert (masks.mean(axis=(1, 2)) > 0.03).all(), font
        assert len({mask.tobytes() for mask in masks}) == 26, font


def test_a_nearest_centroid_of_clean_letters_reads_the_glyphs_far_above_chance() -> None:
    pixels, _ = glyphs.drawn(40, 16, 0)
    labels = np.repeat(np.arange(26), 40)
    grey = pixels.astype(np.float32).mean(axis=1).reshape(len(labels), -1)
    grey -= grey.mean(axis=1, keepdims=True)
    grey /= np.linalg.norm(grey, axis=1, keepdims=True)
    templates = np.stack([glyphs._letter_masks(font, 16) for font in glyphs.fonts()]).mean(axis=0).reshape(26, -1)
    templates -= templates.mean(axis=1, keepdims=True)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)

    guessed = np.abs(grey @ templates.T).argmax(axis=1)  # either polarity

    assert (guessed == labels).mean() > 0.25  # chance is 0.04; shifts and rotations cost the rest


# -------------------------------------------------------------------------------------------------- folders


def image_file(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def class_folders(root: Path, per_class: int = 10, names: tuple[str, ...] = ("cat", "dog"), seed: int = 0) -> Path:
    for number, name in enumerate(names):
        for index in range(per_class):
            image_file(root / name / f"{index:03d}.png", seed + 1000 * number + index)
    return root


def load(path: Path, console: Console = SILENT, **settings: Any) -> Splits:
    return datasets.load(FolderData(name="folder", path=path, **settings), console)


def error(path: Path, **settings: Any) -> str:
    with pytest.raises(TransferkitError) as caught:
        load(path, **settings)
    return str(caught.value)


def noted(splits: Splits, text: str) -> bool:
    return any(text in note for note in splits.notes)


def all_ids(splits: Splits) -> list[str]:
    return sorted([*splits.train.ids, *splits.val.ids, *splits.test.open().ids])


def test_class_folders_alone_are_split_three_ways_without_overlap(tmp_path: Path) -> None:
    splits = load(class_folders(tmp_path / "pets", 20))

    assert (len(splits.train), len(splits.val), len(splits.test)) == (28, 4, 8)
    assert all_ids(splits) == sorted(f"{name}/{index:03d}.png" for name in ("cat", "dog") for index in range(20))
    assert noted(splits, "no test part")
    assert noted(splits, "20% of every class (8 images) is sealed as test")


def test_train_and_test_folders_are_taken_as_they_are_and_val_is_carved(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", 20)
    class_folders(tmp_path / "test", 5, seed=100)

    splits = load(tmp_path)

    assert (len(splits.train), len(splits.val)) == (36, 4)
    assert all(name.startswith("test/") for name in splits.test.open().ids)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_an_own_val_folder_is_used_as_val(name: str, tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", seed=100)
    class_folders(tmp_path / name, 3, seed=200)

    splits = load(tmp_path)

    assert len(splits.train) == 20
    assert len(splits.val) == 6
    assert all(path.startswith(f"{name}/") for path in splits.val.ids)


def test_limits_hold_for_an_own_val_folder_too_and_are_nested(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "val", seed=200)
    class_folders(tmp_path / "test", 2, seed=300)

    small, large = load(tmp_path, limit_per_class=2), load(tmp_path, limit_per_class=5)

    assert np.bincount(small.val.labels).tolist() == np.bincount(small.train.labels).tolist() == [2, 2]
    assert set(small.val.ids) < set(large.val.ids)


def test_train_may_be_a_class_among_others(tmp_path: Path) -> None:
    splits = load(class_folders(tmp_path, names=("bus", "car", "train")))

    assert splits.class_names == ("bus", "car", "train")


def test_class_names_are_in_natural_order_and_images_may_lie_deeper(tmp_path: Path) -> None:
    class_folders(tmp_path, names=("10", "2", "1"))
    image_file(tmp_path / "2" / "monday" / "noon" / "deep.PNG", 99)

    splits = load(tmp_path)

    assert splits.class_names == ("1", "2", "10")
    assert "2/monday/noon/deep.PNG" in all_ids(splits)


def test_hidden_and_other_files_are_ignored_and_counted(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "cat" / ".hidden.png").touch()
    (tmp_path / "cat" / "notes.TXT").touch()
    (tmp_path / "dog" / "photo.psd").touch()
    (tmp_path / ".git").mkdir()
    image_file(tmp_path / "stray.png")

    splits = load(tmp_path)

    assert noted(splits, "ignored 2 files that are no images (.txt 1, .psd 1)")
    assert noted(splits, "ignored 2 hidden files or folders")
    assert noted(splits, "ignored 1 image that lies beside the class folders")
    assert len(all_ids(splits)) == 20


def test_names_that_are_no_utf8_are_escaped_at_the_listing(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", names=("cat",))
    os.rename(class_folders(tmp_path / "more", names=("dog",)) / "dog", os.fsencode(root) + b"/caf\xe9")
    os.rename(root / "cat" / "000.png", os.fsencode(root) + b"/cat/\xff.png")

    splits = load(root)

    assert splits.class_names == ("caf\\xe9", "cat")
    assert "cat/\\xff.png" in all_ids(splits)
    assert "caf\\xe9/001.png" in all_ids(splits)


def test_a_fifo_in_a_class_folder_is_named_and_not_waited_for(tmp_path: Path) -> None:
    class_folders(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")

    assert f"{tmp_path}/cat/pipe.jpg: it is a FIFO (a named pipe), not a file" in error(tmp_path)


@pytest.mark.parametrize("cell", ["a\0.png", "x" * 2000, "a\x1b[2J.png"])
def test_a_path_that_cannot_be_is_told_with_its_line(cell: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\na.png,cat\n{cell},dog\n")

    assert "list.csv, line 3: expected text of at most 1,000 characters without control" in error(tmp_path / "list.csv")


def test_links_to_files_and_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    class_folders(tmp_path / "elsewhere")
    root = class_folders(tmp_path / "pets", names=("owl",))
    (root / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (root / "owl" / "again").symlink_to(root / "owl")
    (root / "owl" / "linked.png").symlink_to(tmp_path / "elsewhere" / "dog" / "000.png")

    splits = load(root)

    assert splits.class_names == ("cat", "owl")
    assert len(all_ids(splits)) == 21


def test_a_csv_names_path_label_and_split(tmp_path: Path) -> None:
    class_folders(tmp_path / "files", 6)
    lines = ["label,path,split"]
    for name in ("cat", "dog"):
        parts = ["train"] * 4 + ["val", "TEST"]
        lines += [f"{name},files/{name}/{index:03d}.png,{part}" for index, part in enumerate(parts)]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8-sig")

    splits = load(tmp_path / "list.csv")

    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 2, 2)
    assert splits.val.ids == ("files/cat/004.png", "files/dog/004.png")
    assert splits.test.open().labels.tolist() == [0, 1]


def test_a_csv_without_splits_is_split_by_class(tmp_path: Path) -> None:
    class_folders(tmp_path)
    rows = "".join(f"{name}/{index:03d}.png,{name}\n" for name in ("cat", "dog") for index in range(10))
    (tmp_path / "list.csv").write_text("path,label\n" + rows)

    splits = load(tmp_path / "list.csv")

    assert np.bincount(splits.test.open().labels).tolist() == [2, 2]


def test_the_test_part_may_lack_a_class_and_a_check_says_so(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", names=("cat", "dog", "owl"))
    class_folders(tmp_path / "test", names=("cat", "owl"), seed=100)

    splits = load(tmp_path)

    assert splits.test.open().class_names == ("cat", "dog", "owl")
    assert set(splits.test.open().labels.tolist()) == {0, 2}
    assert "Test has no image of 1 of 3 classes (“dog”)" in found(splits, "TK029")


def test_test_images_that_are_in_train_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", 3, seed=100)
    shutil.copy(tmp_path / "train" / "cat" / "000.png", tmp_path / "test" / "cat" / "copy.png")

    splits = load(tmp_path)

    assert "1 of 7 test images have the very pixels of an image in train or val (“test/cat/copy.png”)" in found(splits)


def test_images_are_kept_at_the_median_short_side_and_a_note_says_so(tmp_path: Path) -> None:
    for index, side in enumerate((20, 30, 40, 30, 400)):
        image_file(tmp_path / "cat" / f"{index}.png", index, (side + 50, side))
        image_file(tmp_path / "dog" / f"{index}.png", index + 9, (side, side + 50))

    splits = load(tmp_path)

    assert splits.train.size_px == (30, 30)
    assert noted(splits, "images kept at 30 x 30 px")
    assert load(tmp_path, storage=16).train.size_px == (16, 16)


@pytest.mark.parametrize(("side", "kept"), [(3, 8), (300, 256)])
def test_automatic_storage_lies_between_8_and_256_px(side: int, kept: int, tmp_path: Path) -> None:
    image_file(tmp_path / "a.png", 0, (side, side))

    assert folder_cache.automatic_size([str(tmp_path / "a.png")]) == kept


# ------------------------------------------------------------------------------------- folders: what goes wrong


def test_a_missing_folder_is_told_with_the_expected_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is shortened in messages

    message = error(Path("none"))

    assert "none does not exist. Expected none/train/<class>/<image>.jpg" in message


def test_a_folder_without_classes_tells_how_many_images_lie_inside(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for index in range(3):
        image_file(photos / f"{index}.png")

    assert error(photos) == (
        f"{photos} has no class folders. Expected {photos}/<class>/<image>.jpg; found 3 images directly inside."
    )


@pytest.mark.parametrize(
    ("name", "typed"),
    [("train-0.parquet", "shards:{}"), ("a.tar", "shards:{}"), ("labels.csv", "{}/labels.csv"), ("a.npz", "{}/a.npz")],
)
def test_a_folder_of_data_of_another_kind_is_told_what_to_type(name: str, typed: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()

    assert error(tmp_path).endswith(f"It holds {name}: type --data {typed.format(tmp_path)}.")


def test_a_class_folder_given_for_all_is_told_of_the_folder_above(tmp_path: Path) -> None:
    for name in ("bumpy", "smooth", "notes"):
        (tmp_path / name).mkdir()
    image_file(tmp_path / "bumpy" / "0.png")
    image_file(tmp_path / "smooth" / "0.png")

    assert error(tmp_path / "bumpy").endswith(
        f"Did you mean {tmp_path}/, which has 2 folders of images, bumpy among them?"
    )


def test_a_train_folder_without_classes_is_not_taken_for_a_class_of_the_folder_above(tmp_path: Path) -> None:
    image_file(tmp_path / "train" / "0.png")
    image_file(tmp_path / "test" / "0.png")

    assert "Did you mean" not in error(tmp_path)
    assert "Did you mean" not in error(tmp_path / "train")


def test_one_class_is_told(tmp_path: Path) -> None:
    assert "has one class folder, 'cat'; a classifier needs at least two" in error(
        class_folders(tmp_path, names=("cat",))
    )


@pytest.mark.parametrize("beside", [(), ("notes",)])
def test_a_folder_one_too_high_is_told_of_the_folder_below(tmp_path: Path, beside: tuple[str, ...]) -> None:
    class_folders(tmp_path / "flowers", names=("daisy", "rose"))
    for name in beside:
        (tmp_path / name).mkdir()

    assert error(tmp_path).endswith(f"Did you mean {tmp_path / 'flowers'}/, which has 2 folders of images?")


def test_a_folder_above_train_and_test_is_told_of_the_folder_below(tmp_path: Path) -> None:
    class_folders(tmp_path / "flowers" / "train", names=("daisy", "rose"))

    assert error(tmp_path).endswith(f"Did you mean {tmp_path / 'flowers'}/, which has train and the like?")


def test_a_single_class_with_folders_of_a_patient_is_not_taken_for_a_folder_too_high(tmp_path: Path) -> None:
    image_file(tmp_path / "ill" / "ann" / "0.png")
    image_file(tmp_path / "ill" / "1.png")

    assert "Did you mean" not in error(tmp_path)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    (tmp_path / "train" / "owl").mkdir()

    assert f"1 of 3 class folders hold no image: {tmp_path}/train/owl" in error(tmp_path)


def test_an_empty_class_folder_in_val_or_test_is_like_a_missing_one(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        class_folders(tmp_path / part, 4, seed=5000 * number)
    class_folders(tmp_path / "train", 4, names=("owl",), seed=20_000)
    for part in ("val", "test"):
        (tmp_path / part / "owl").mkdir()

    splits = load(tmp_path)

    assert splits.class_names == splits.val.class_names == ("cat", "dog", "owl")
    assert "Test has no image of 1 of 3 classes (“owl”)" in found(splits, "TK029")
    assert "Val has no image of 1 of 3 classes (“owl”)" in found(
        replace(splits, test=SealedImages(splits.train)), "TK029"
    )


def test_composed_and_decomposed_spellings_of_a_class_are_one(tmp_path: Path) -> None:
    composed, decomposed = "B\u00e4ume", "Ba\u0308ume"
    class_folders(tmp_path / "train", 4, names=(composed, "Gras"))
    class_folders(tmp_path / "test", 2, names=(decomposed, "Gras"), seed=100)
    image_file(tmp_path / "train" / decomposed / "more.png", 999)

    splits = load(tmp_path)

    assert splits.class_names == (composed, "Gras")
    assert len(splits.train) + len(splits.val) == 9
    assert np.bincount(splits.test.open().labels).tolist() == [2, 2]


def test_class_names_that_differ_between_train_and_test_are_shown(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", names=("cat", "dog"))
    class_folders(tmp_path / "test", names=("Cat", "dog"))

    message = error(tmp_path)

    assert message.startswith(f"{tmp_path}, test: Class names differ. Only here: 'Cat'; only in train: 'cat'.")


def test_training_and_testing_are_parts_and_beside_other_folders_classes(tmp_path: Path) -> None:
    for name in ("Training", "Testing"):
        class_folders(tmp_path / "scans" / name)
    for name in ("training", "testing", "meeting"):
        for index in range(10):
            image_file(tmp_path / "rooms" / name / f"{index}.png")

    scans, rooms = load(tmp_path / "scans"), load(tmp_path / "rooms")

    assert (scans.class_names, len(scans.test)) == (("cat", "dog"), 20)
    assert rooms.class_names == ("meeting", "testing", "training")


def test_parts_without_train_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "test")
    class_folders(tmp_path / "val")

    assert f"{tmp_path} has test, val but no train folder" in error(tmp_path)


def test_a_reason_that_many_files_share_is_said_once_and_leaving_all_out_is_no_advice(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / name / f"{number:02}.tif")

    message = error(tmp_path)

    heading, *lines, advice = message.split("\n")
    assert heading == (
        "24 of 24 images cannot be read: pixels that are no whole numbers; save it with 8 or 16 bits per channel, or "
        "name the values of black and white, as in data.range=[0,1]"
    )
    assert (lines[0], lines[10], advice) == (f"  {tmp_path}/cat/00.tif", "  and 14 more", "Fix or delete them.")


def damaged_folder(root: Path) -> Path:
    class_folders(root)
    (root / "cat" / "zero.jpg").touch()
    whole = (root / "cat" / "000.png").read_bytes()
    (root / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "text.jpeg").write_text("not an image")
    return root


def test_unreadable_files_stop_the_run_and_all_are_named(tmp_path: Path) -> None:
    message = error(damaged_folder(tmp_path))

    assert message.startswith("3 of 23 images cannot be read:\n")
    assert f"{tmp_path}/cat/zero.jpg: the file is empty (0 bytes)" in message
    assert f"{tmp_path}/dog/cut.png: " in message
    assert f"{tmp_path}/dog/text.jpeg: not an image" in message
    assert message.endswith("leave them out with --skip-bad.")


def test_of_many_unreadable_files_the_first_ten_are_named(tmp_path: Path) -> None:
    class_folders(tmp_path)
    for index in range(12):
        (tmp_path / "cat" / f"bad{index:02d}.jpg").touch()

    message = error(tmp_path)

    assert "bad09.jpg" in message
    assert "bad10.jpg" not in message
    assert "and 2 more" in message


def test_skipped_files_are_listed_in_the_notes_and_nowhere_else(tmp_path: Path) -> None:
    splits = load(damaged_folder(tmp_path), skip_bad=True)

    assert sum("skipped, unreadable" in note for note in splits.notes) == 3
    assert len(all_ids(splits)) == 20
    assert not found(splits, "TK022")  # black rows of unreadable files are no duplicates


def test_a_class_of_which_every_file_is_unreadable_is_named(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "zero.jpg").touch()

    assert "No training image for 1 of 3 classes: 'owl'" in error(tmp_path, skip_bad=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\na.png,cat\n",
            "has no column path; its first line is 'file,label'. Expected a first line path,label",
        ),
        ("path,label\n", "has no rows below its header path,label"),
        ("path,label\na.png,\n", "line 2: path or label is missing"),
        ("path,label,split\na.png,cat,tset\n", "line 2: unknown split 'tset'. Did you mean 'test'?"),
        ("path,label\na.png,cat\na.png,dog\n", "names 1 file more than once: a.png"),
        ("path,label\na.png,cat\nb.png,cat\n", "has one class, 'cat'"),
        ("path,label,split\na.png,cat,test\n", "has no row with split train"),
        ("path,label\na.png,cat\nb.png,dog\n", "2 of 2 images cannot be read:\n  {}/a.png: there is no such file"),
    ],
)
def test_a_wrong_csv_is_told_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)

    assert message.format(tmp_path) in error(tmp_path / "list.csv")


def test_another_file_than_a_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").touch()

    assert "is neither a folder nor a .csv file" in error(tmp_path / "list.txt")


def test_too_few_images_for_a_test_part_are_told(tmp_path: Path) -> None:
    assert "less than one per class. Add images, or raise data.test_fraction" in error(class_folders(tmp_path, 2))


# -------------------------------------------------------------------------------------------- folders: the cache


def decoding_lines(path: Path, **settings: Any) -> int:
    """How often images were decoded during a load."""
    printed = io.StringIO()
    load(path, Console(stream=printed), **settings)
    return printed.getvalue().count("Decoding images")


def test_a_second_load_decodes_nothing_and_gives_the_same_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")

    first = load(root)

    assert decoding_lines(root) == 0
    assert load(root).train.fingerprint == first.train.fingerprint
    assert load(root).train.ids == first.train.ids
    assert isinstance(load(root).train.storage, np.memmap)


@pytest.mark.parametrize("change", ["content", "name", "new file", "size", "fit"])
def test_any_change_of_the_files_or_the_settings_decodes_again(change: str, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    changes: dict[str, Callable[[], object]] = {
        "content": lambda: image_file(root / "cat" / "000.png", 555),
        "name": lambda: (root / "cat" / "000.png").rename(root / "cat" / "zzz.png"),
        "new file": lambda: image_file(root / "cat" / "new.png", 555),
    }
    changes.get(change, lambda: None)()

    settings: dict[str, dict[str, Any]] = {"size": {"storage": 9}, "fit": {"fit": "crop"}}
    assert decoding_lines(root, **settings.get(change, {})) == 1


def test_a_file_that_becomes_readable_without_a_change_of_its_own_is_noticed(tmp_path: Path) -> None:
    root, target = class_folders(tmp_path / "pets"), tmp_path / "target.png"
    (root / "cat" / "link.png").symlink_to(target)
    assert "link.png: there is no such file" in error(root)

    image_file(target, 7)

    assert "cat/link.png" in all_ids(load(root))


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    pixels = next(cache_folder().glob("images/*/pixels.u8"))
    pixels.write_bytes(b"short")

    assert decoding_lines(root) == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "5", '{"size_px": "x", "unreadable": []}', '{"size_px": 10, "unread', "[" * 9999]
)
def test_a_cache_whose_facts_are_damaged_is_made_anew(content: str, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    next(cache_folder().glob("images/*/facts.json")).write_text(content)

    assert decoding_lines(root) == 1


def inverted_half(path: Path, *, keep_time: bool) -> None:
    """Invert every byte of the second half of a file."""
    before, content = path.stat(), path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + content[half:].translate(bytes(range(255, -1, -1))))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.parametrize("name", ["pixels.u8", "digests.u8"])
def test_a_cache_with_other_bytes_of_the_same_length_is_made_anew(tmp_path: Path, name: str, keep_time: bool) -> None:
    root = class_folders(tmp_path / "pets")
    right = load(root).train
    inverted_half(next(cache_folder().glob(f"images/*/{name}")), keep_time=keep_time)

    again = load(root).train

    assert np.array_equal(again.take(slice(0, 4)), right.take(slice(0, 4)))
    assert again.fingerprint == right.fingerprint
    assert decoding_lines(root) == 0


@pytest.mark.parametrize("is_sound", [False, True])
def test_a_cache_without_sums_is_checked_once_against_its_digests(tmp_path: Path, is_sound: bool) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    path = next(cache_folder().glob("images/*/facts.json"))
    facts = json.loads(path.read_text())
    checks = facts.pop("checks")
    path.write_text(json.dumps(facts))
    if not is_sound:
        inverted_half(path.parent / "pixels.u8", keep_time=True)

    assert decoding_lines(root) == int(not is_sound)
    assert json.loads(path.read_text())["checks"]["pixels.u8"]["sums"] == checks["pixels.u8"]["sums"]


def test_a_touched_cache_is_read_whole_once_and_kept(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    pixels = next(cache_folder().glob("images/*/pixels.u8"))
    os.utime(pixels, (1e9, 1e9))

    assert decoding_lines(root) == 0
    facts = json.loads((pixels.parent / "facts.json").read_text())
    assert facts["checks"]["pixels.u8"]["stamp"] == [pixels.stat().st_size, 10**18]


def test_sums_of_blocks_are_those_of_a_loop(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(2 * content_check.BLOCK_BYTES + 13)
    (tmp_path / "file").write_bytes(content)
    blocks = [content[start : start + content_check.BLOCK_BYTES] for start in range(0, len(content), 2**20)]
    words = [struct.unpack(f"<{-(-len(block) // 8)}Q", block + bytes(-len(block) % 8)) for block in blocks]

    found = content_check.block_sums(tmp_path / "file")

    assert found.tolist() == [sum(of_block) % 2**64 for of_block in words]


def test_a_sample_of_blocks_finds_a_damaged_half(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(np.random.default_rng(0).bytes(8 * content_check.BLOCK_BYTES))
    facts = content_check.check_of(path)
    assert content_check.is_sound(path, facts, 4 * content_check.BLOCK_BYTES, np.random.default_rng(1))

    inverted_half(path, keep_time=True)

    assert not content_check.is_sound(path, facts, 4 * content_check.BLOCK_BYTES, np.random.default_rng(1))


def test_files_of_others_among_decoded_images_stay(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    images = cache_folder() / "images"
    (images / "holiday.jpg").write_text("mine")

    caches.clear_caches("all")

    assert [path.name for path in images.iterdir()] == ["holiday.jpg"]
    assert decoding_lines(root) == 1


def test_several_processes_decode_the_same_pixels_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = damaged_folder(tmp_path / "pets")
    alone = load(root, skip_bad=True)
    shutil.rmtree(cache_folder())
    monkeypatch.setattr(folder_workers, "FEW_FILES", 0)
    monkeypatch.setattr(folder_workers, "CHUNK", 3)
    monkeypatch.setattr(folder_cache, "usable_cores", lambda: 2)

    together = load(root, skip_bad=True)

    assert alone.notes == together.notes
    assert alone.train.fingerprint == together.train.fingerprint
    assert np.array_equal(alone.train.pixels, together.train.pixels)


def test_a_dead_decoding_process_is_told_with_its_files(tmp_path: Path) -> None:
    decoding = folder_workers.Decoding(str(tmp_path / "missing" / "pixels"), str(tmp_path / "digests"), 8, Reading())

    with folder_workers._Worker(decoding) as worker, pytest.raises(MachineError) as caught:
        worker.run(0, ["a.png", "b.png"])

    assert "died with exit code 1 (FileNotFoundError" in str(caught.value)
    assert "on one of 2 files, from a.png to b.png" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_two_processes_may_build_the_same_cache_at_once(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", 100)
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=load, args=(root,)) for _ in range(2)]

    for process in running:
        process.start()
    for process in running:
        process.join()

    assert [process.exitcode for process in running] == [0, 0]
    assert decoding_lines(root) == 0
    assert len(list((cache_folder() / "images").glob("*/"))) == 1


def test_whoever_comes_second_keeps_what_the_first_one_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "pets")
    inner = folder_workers.decode_into
    raced: list[Splits] = []

    def slow(*arguments: Any) -> folder_workers.Failures:
        if not raced:
            raced.append(None)  # type: ignore[arg-type]
            raced[0] = load(root)  # another process finishes first
        return inner(*arguments)

    monkeypatch.setattr(folder_cache, "decode_into", slow)

    assert load(root).train.fingerprint == raced[0].train.fingerprint
    assert len(list((cache_folder() / "images").glob("*/"))) == 1


def test_a_full_disk_names_the_space_that_is_needed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "pets")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 100))

    with pytest.raises(
        MachineError, match=r"20 images of 64 x 64 px need 0 MB in .*images, which has 0 MB free.*--storage"
    ):
        load(root, storage=64)
    assert list((cache_folder() / "images").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_while_decoding_is_told(tmp_path: Path) -> None:
    image_file(tmp_path / "a.png")
    decoding = folder_workers.Decoding("/dev/full", "/dev/full", 8, Reading())

    with (
        folder_workers._Worker(decoding) as worker,
        pytest.raises(MachineError, match=r"Cannot write decoded images.*No space"),
    ):
        worker.run(0, [str(tmp_path / "a.png")])


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    load(root)
    place = next(cache_folder().glob("images/*/facts.json")).parent
    old, young = (place.parent / f".{place.name}-{name}" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir()
    os.utime(old, (time.time() - 1e6,) * 2)
    shutil.rmtree(place)

    load(root)

    assert not old.exists()
    assert young.exists()


def test_facts_in_the_cache_are_json(tmp_path: Path) -> None:
    load(class_folders(tmp_path / "pets"))

    facts = json.loads(next(cache_folder().glob("images/*/facts.json")).read_text())

    assert facts["size_px"] == 10
    assert facts["unreadable"] == []


# ------------------------------------------------------------------------------------------------- real data


def real(name: str) -> Path:
    if not (root := os.environ.get("TRANSFERKIT_TEST_DATA")):
        pytest.skip("TRANSFERKIT_TEST_DATA is not set to the folder with the real data")
    if not (Path(root) / name).is_dir():
        pytest.skip(f"TRANSFERKIT_TEST_DATA has no folder {name}")
    return Path(root) / name


@pytest.mark.real
def test_real_cifar10_folders_are_read_in_full_and_alike_the_second_time() -> None:
    first = load(real("cifar10"))
    second = load(real("cifar10"))

    assert (len(first.train), len(first.val), len(first.test)) == (45_000, 5_000, 10_000)
    assert first.train.size_px == (32, 32)
    assert np.bincount(first.train.labels).tolist() == [4_500] * 10
    assert first.train.fingerprint == second.train.fingerprint
    mean = first.train.pixels[::10].mean(axis=(0, 2, 3)) / 255
    assert np.allclose(mean, (0.4914, 0.4822, 0.4465), atol=0.01)  # known mean of CIFAR-10


@pytest.mark.real
def test_real_textures_of_many_shapes_are_kept_at_128_px() -> None:
    splits = load(real("textures"))

    assert splits.train.size_px == (128, 128)
    assert len(all_ids(splits)) == 1_200


@pytest.mark.real
def test_real_tiny_imagenet_has_202_classes() -> None:
    splits = load(real("tiny-imagenet-val"))

    assert len(splits.class_names) == 202
    assert len(all_ids(splits)) == 10_100
