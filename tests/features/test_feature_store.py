"""Features are computed once per image, found again in any subset, and never served when anything changed."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from transferkit.data.images import Images
from transferkit.features import inventory
from transferkit.features.cached_outputs import outputs_of
from transferkit.features.fast_classifier import collect
from transferkit.features.inventory import entries
from transferkit.features.keys import Key, key_of, weights_digest
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.segments import CHUNK_ROWS
from transferkit.features.store import FeatureStore, open_store
from transferkit.features.stored import stored_features
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import Runtime

KEY = Key("w", {"size": 8}, "penultimate", "avg", "fp32-cpu", {"torch": "2"})
CPU = Runtime(torch.device("cpu"), "fp32", 2)
SPEC = InputSpec(8, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRANSFERKIT_FEATURE_BUDGET", raising=False)
    return tmp_path / "cache"


def opened(console: Console = SILENT) -> FeatureStore:
    store = open_store(console)
    assert isinstance(store, FeatureStore)
    return store


def listening() -> tuple[Console, Callable[[], str]]:
    stream = io.StringIO()
    return Console(stream=stream), lambda: " ".join(stream.getvalue().split())


def digests(count: int, first: int = 0) -> np.ndarray:
    """One digest per image, the number of the image in its first bytes; the other bytes are zero."""
    numbers = np.zeros((count, 16), np.uint8)
    numbers[:, :8] = np.arange(first, first + count, dtype=">u8").view(np.uint8).reshape(count, 8)
    return numbers


class Counting:
    """Features that tell their image: (number, number + 0.5); remembers which were asked for."""

    def __init__(self, images: np.ndarray) -> None:
        self.numbers = images[:, :8].copy().view(">u8").reshape(-1).astype(np.float32)
        self.asked: list[int] = []

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        self.asked += self.numbers[positions].astype(int).tolist()
        return np.stack([self.numbers[positions], self.numbers[positions] + 0.5], axis=1)


def served(images: np.ndarray, store: FeatureStore | None = None, key: Key = KEY) -> tuple[np.ndarray, list[int]]:
    compute = Counting(images)
    features = (store or opened()).served(key, images, compute)
    assert np.array_equal(features[:, 0], compute.numbers)
    return features, compute.asked


def small_classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return Classifier(body, 4, ("a", "b"), {"all": ("0", "1", "2", "3", "4")}, SPEC).eval()


def small_images(count: int = 12, side: int = 8) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return Images.from_pixels(pixels, np.arange(count) % 2, ("a", "b"))


# ------------------------------------------------------------------------------------------------- what is computed


def test_the_same_images_are_computed_once_and_then_mapped_from_disk() -> None:
    first, computed = served(digests(5))

    second, computed_again = served(digests(5))

    assert (computed, computed_again) == ([0, 1, 2, 3, 4], [])
    assert np.array_equal(first, second)
    assert isinstance(second.base, np.memmap)
    assert second.flags.writeable  # copy-on-write: see the next test


def test_changing_served_rows_does_not_change_the_store() -> None:
    served(digests(3))

    opened().served(KEY, digests(3), Counting(digests(3)))[:] = -1

    assert served(digests(3))[1] == []


def test_subsets_other_orders_and_splits_of_stored_images_are_served_without_computing() -> None:
    images = digests(20)
    served(images)
    order = np.random.default_rng(0).permutation(20)

    computed = [served(images[chosen])[1] for chosen in (order, order[:7], order[7:], np.array([3, 3, 0]))]

    assert computed == [[], [], [], []]


def test_only_new_images_of_a_larger_set_are_computed() -> None:
    served(digests(4))

    computed = served(digests(6))[1]

    assert computed == [4, 5]
    assert served(digests(6))[1] == []


def test_an_image_that_occurs_twice_is_computed_once() -> None:
    images = digests(3)[[0, 1, 0, 2, 1]]

    features, computed = served(images)

    assert computed == [0, 1, 2]
    assert features[:, 0].tolist() == [0, 1, 0, 2, 1]


# ---------------------------------------------------------------------------------------------- what changes the key


def key_for(classifier: Classifier, size: int = 8, layer: str = "penultimate", **changes: Any) -> str:
    spec = replace(classifier.input_spec, size=size)
    place = {"image_px": (8, 8), "pool": "avg", "precision": "fp32", "device_type": "cpu", **changes}
    return key_of(weights_digest(classifier.body), spec, layer=layer, **place).digest


def test_each_setting_that_decides_the_features_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = small_classifier()
    keys = {
        "as it was": key_for(classifier),
        "size": key_for(classifier, size=16),
        "layer": key_for(classifier, layer="0"),
        "pool": key_for(classifier, pool="max"),
        "precision": key_for(classifier, precision="bf16"),
        "device": key_for(classifier, device_type="cuda"),
        "image size": key_for(classifier, image_px=(4, 16)),
        "other weights": key_for(small_classifier(seed=1)),
    }
    monkeypatch.setattr("transferkit.features.keys.package_version", lambda _name: "0")
    keys["versions"] = key_for(classifier)

    assert len(set(keys.values())) == 9
    assert key_for(classifier) == keys["versions"]


def test_one_weight_one_batchnorm_statistic_and_one_stride_change_the_digest_of_the_weights() -> None:
    found = [weights_digest(small_classifier().body)]
    for change in (
        lambda body: body[0].weight.data.view(-1)[0].add_(1e-6),
        lambda body: body[1].running_mean[0].add_(1e-6),
        lambda body: setattr(body[0], "stride", (2, 2)),
    ):
        body = small_classifier().body
        change(body)
        found.append(weights_digest(body))

    assert len(set(found)) == 4
    assert weights_digest(small_classifier().body) == found[0]


def test_changing_one_pixel_computes_that_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    images, classifier, seen = small_images(), small_classifier(), []
    before = stored_features(classifier, images, CPU, SILENT, "features")
    pixels = images.pixels.copy()
    pixels[7, 0, 0, 0] ^= 1
    forward = LayerNetwork.of_prepared
    monkeypatch.setattr(
        LayerNetwork, "of_prepared", lambda self, batch: (seen.append(len(batch)), forward(self, batch))[1]
    )

    after = stored_features(
        classifier, Images.from_pixels(pixels, images.labels, images.class_names), CPU, SILENT, "features"
    )

    assert seen == [1]
    assert np.flatnonzero((before != after).any(axis=1)).tolist() == [7]


def test_stored_features_equal_those_of_a_pass_through_the_classifier() -> None:
    images, classifier = small_images(), small_classifier()
    with torch.no_grad():
        expected = classifier.features(torch.from_numpy(images.pixels)).numpy()

    found = stored_features(classifier, images, CPU, SILENT, "features", batch_size=5)
    again = stored_features(classifier, images, CPU, SILENT, "features")

    assert found.shape == (12, 4)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.array_equal(found, again)


def test_stored_features_are_averaged_as_the_classifier_averages_them() -> None:
    """So that the head meets in every command what it met where it was fitted."""
    images, classifier = small_images(), small_classifier()
    plain = stored_features(classifier, images, CPU, SILENT, "features")
    classifier.averages_mirror = classifier.averages_shifts = True
    with torch.no_grad():
        expected = classifier.features(torch.from_numpy(images.pixels)).numpy()

    found = stored_features(classifier, images, CPU, SILENT, "features")

    assert np.allclose(found, expected, atol=1e-5)
    assert not np.allclose(found, plain, atol=1e-3)


def test_a_frozen_body_gives_the_outputs_of_every_other_pass_under_test_time_augmentation() -> None:
    images, classifier = small_images(), small_classifier()
    classifier.freeze(["all"])
    classifier.averages_mirror = True

    stored = outputs_of(classifier, images, CPU, SILENT, "")
    passed = collect(classifier, images, CPU, SILENT, "")

    assert classifier.has_frozen_body
    assert np.allclose(stored.logits, passed.logits, atol=1e-5)


def test_computing_features_leaves_the_global_random_numbers_alone() -> None:
    """Else a fine-tuning would depend on whether its probe's features happened to be stored."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    classifier = small_classifier()
    torch.manual_seed(5)

    stored_features(classifier, small_images(), CPU, SILENT, "features")

    assert torch.equal(torch.rand(1), expected)


def test_no_images_give_no_rows_of_the_right_width() -> None:
    features = stored_features(small_classifier(), small_images().subset([]), CPU, SILENT, "features")

    assert features.shape == (0, 4)


# ------------------------------------------------------------------------------------------------------------ damage


def flip_byte(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 255]))


def test_a_damaged_chunk_is_said_aloud_and_only_its_images_are_computed_again() -> None:
    count = CHUNK_ROWS + 10
    served(digests(count))
    (entry,) = entries()
    flip_byte(entry.path / "features.npy", -4 + (entry.path / "features.npy").stat().st_size)
    console, said = listening()

    features, computed = served(digests(count), opened(console))

    assert computed == list(range(CHUNK_ROWS, count))
    assert "checksum of chunk 1 of 2" in said()
    assert "10 images are computed again" in said()
    assert np.array_equal(features[:, 1], features[:, 0] + 0.5)
    assert served(digests(count))[1] == []


@pytest.mark.parametrize("content", ["", "[]", '{"rows": 5}', "[" * 9999])
@pytest.mark.parametrize("name", ["index.json", "features.npy", "digests.npy"])
def test_a_segment_with_a_damaged_file_is_said_aloud_and_computed_again(name: str, content: str) -> None:
    served(digests(5))
    (entry,) = entries()
    (entry.path / name).write_text(content)
    console, said = listening()

    _, computed = served(digests(5), opened(console))

    assert computed == list(range(5))
    assert "are damaged" in said()


def test_a_damaged_chunk_that_is_not_needed_does_no_harm() -> None:
    count = CHUNK_ROWS + 10
    served(digests(count))
    (entry,) = entries()
    flip_byte(entry.path / "features.npy", -4 + (entry.path / "features.npy").stat().st_size)

    assert served(digests(20))[1] == []


@pytest.mark.parametrize("file", ["features.npy", "digests.npy", "index.json"])
def test_a_truncated_file_is_said_aloud_and_computed_again(file: str) -> None:
    served(digests(5))
    (entry,) = entries()
    (entry.path / file).write_bytes((entry.path / file).read_bytes()[:60])
    console, said = listening()

    computed = served(digests(5), opened(console))[1]

    assert computed == [0, 1, 2, 3, 4]
    assert "are damaged" in said()
    assert served(digests(5))[1] == []


# ---------------------------------------------------------------------------------------------- formats and budget


def test_a_store_of_an_older_format_is_cleared_with_a_message(cache: Path) -> None:
    served(digests(5))
    (cache / "features" / "FORMAT").write_text("0\n")
    console, said = listening()

    computed = served(digests(5), opened(console))[1]

    assert computed == [0, 1, 2, 3, 4]
    assert "was of the older format 0: cleared" in said()


def test_a_store_of_a_newer_transferkit_is_neither_used_nor_removed(cache: Path) -> None:
    served(digests(5))
    (cache / "features" / "FORMAT").write_text("99\n")
    console, said = listening()

    features = stored_features(small_classifier(), small_images(), CPU, console, "features")

    assert features.shape == (12, 4)
    assert "newer transferkit (format 99" in said()
    assert len(entries()) == 1


def test_what_was_used_longest_ago_makes_room() -> None:
    for layer in ("one", "two", "three"):
        served(digests(1000), key=replace(KEY, layer=layer))
    for age, entry in enumerate(reversed(entries())):
        os.utime(entry.path / "index.json", (time.time() - 100 * age, time.time() - 100 * age))
    served(digests(1000), key=replace(KEY, layer="one"))  # used now
    budget = int(3.5 * entries()[0].bytes)
    console, said = listening()

    served(digests(1000), replace(opened(console), budget=budget), replace(KEY, layer="four"))

    assert len(entries()) == 3
    assert {"one", "four"} <= {entry.key.layer for entry in entries()}
    assert "Feature store full: removed 1,000 rows" in said()
    assert inventory.total_bytes() < budget


def test_features_larger_than_the_budget_are_computed_and_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_FEATURE_BUDGET", "1 KB")
    console, said = listening()

    computed = served(digests(1000), opened(console))[1]

    assert len(computed) == 1000
    assert "are not stored: the store may hold 0 MB (TRANSFERKIT_FEATURE_BUDGET)" in said()
    assert entries() == []


def test_a_budget_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_FEATURE_BUDGET", "plenty")

    with pytest.raises(TransferkitError, match=r"'plenty' is no size\. Expected such as 500MB, 20GB or 0"):
        open_store(SILENT)


@pytest.mark.parametrize(("text", "expected"), [("5GB", 5e9), ("1.5 mb", 1.5e6), ("0", 0), ("", 20e9)])
def test_the_budget_is_read_with_its_unit(text: str, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_FEATURE_BUDGET", text)

    assert inventory.budget_bytes() == expected


def test_clearing_frees_what_the_listing_counts(cache: Path) -> None:
    served(digests(50))
    counted = inventory.total_bytes()

    freed = inventory.clear_store()

    assert freed == counted > 50 * 8
    assert list(cache.iterdir()) == []


def test_a_store_that_cannot_be_written_is_said_aloud_and_the_features_come(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transferkit.features.store.write_segment", full)
    console, said = listening()

    computed = served(digests(3), opened(console))[1]

    assert computed == [0, 1, 2]
    assert "the disk is full" in said()
    assert not list(inventory.store_folder().glob(".partial-*"))


# --------------------------------------------------------------------------------------------------------- processes


def store_together(barrier: Any, results: Any) -> None:
    store = open_store(SILENT)
    assert store is not None
    images = digests(3000)

    def compute(positions: np.ndarray) -> np.ndarray:
        barrier.wait(timeout=60)  # no process writes before each has begun to compute
        return Counting(images)(positions)

    features = store.served(KEY, images, compute)
    results.put(float(features[:, 0].sum()))


def test_two_processes_that_store_the_same_rows_leave_one_sound_segment() -> None:
    context = multiprocessing.get_context("fork")
    opened()
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=store_together, args=(barrier, results)) for _ in range(2)]

    for process in processes:
        process.start()
    sums = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert sums == [2999 * 3000 / 2] * 2
    assert len(entries()) == 1
    assert served(digests(3000))[1] == []
    assert not list(inventory.store_folder().glob(".partial-*"))
