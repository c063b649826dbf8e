"""Batches: order, augmentation, and where the pixels live."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferkit.data.batches import ShiftAndFlip, TrainingBatches, in_order
from transferkit.data.images import Images
from transferkit.runtime.distributed import World

CPU = torch.device("cpu")


def numbered(count: int, side: int = 4) -> Images:
    """Image i is filled with the value i."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 3, side, side)).copy()
    return Images.from_pixels(pixels, np.arange(count) % 2, ["even", "odd"])


def test_an_epoch_shows_every_image_once_with_its_own_label() -> None:
    batches = TrainingBatches(numbered(12), 4, CPU, None, seed=0)

    seen = [
        (int(image[0, 0, 0]), int(label))
        for images, labels in batches.epoch(0)
        for image, label in zip(images, labels, strict=True)
    ]

    assert sorted(seen) == [(index, index % 2) for index in range(12)]


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = TrainingBatches(numbered(16), 16, CPU, None, seed)
        return [int(value) for images, _ in batches.epoch(epoch) for value in images[:, 0, 0, 0]]

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_a_remainder_waits_for_another_epoch() -> None:
    batches = TrainingBatches(numbered(10), 4, CPU, None, seed=0)

    assert [len(images) for images, _ in batches.epoch(0)] == [4, 4]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    batches = TrainingBatches(numbered(3), 8, CPU, None, seed=0)

    assert [len(images) for images, _ in batches.epoch(0)] == [3]


def test_no_shift_and_no_flip_leave_images_as_they_are() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 6), dtype=torch.uint8)

    augmented = ShiftAndFlip(shift=0.0, flip=False)(images, torch.Generator().manual_seed(0))

    assert torch.equal(augmented, images)


def test_a_flip_mirrors_whole_images_and_only_some() -> None:
    images = torch.randint(0, 256, (64, 3, 6, 6), dtype=torch.uint8)

    augmented = ShiftAndFlip(shift=0.0, flip=True)(images, torch.Generator().manual_seed(0))

    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(augmented, images, strict=True)]
    same = [torch.equal(new, old) for new, old in zip(augmented, images, strict=True)]
    assert sum(mirrored) + sum(same) == 64
    assert 16 < sum(mirrored) < 48


def test_a_shift_equals_cropping_a_reflect_padded_image() -> None:
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)

    augmented = ShiftAndFlip(shift=0.25, flip=False)(images, torch.Generator().manual_seed(0))

    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    for new, wide in zip(augmented, padded, strict=True):
        crops = [wide[:, top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
        assert any(torch.equal(new, crop) for crop in crops)


def test_memory_mapped_pixels_give_the_same_batches_as_pixels_in_memory(tmp_path) -> None:  # type: ignore[no-untyped-def]
    images = numbered(12)
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=images.storage.shape)
    mapped[:] = images.storage
    on_disk = Images.from_pixels(mapped, images.labels, images.class_names)

    expected = [batch for batch, _ in TrainingBatches(images, 4, CPU, ShiftAndFlip(), 0).epoch(0)]
    actual = [batch for batch, _ in TrainingBatches(on_disk, 4, CPU, ShiftAndFlip(), 0).epoch(0)]

    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("processes", [2, 3])
def test_parts_of_all_processes_are_the_batch_of_one(processes: int) -> None:
    images, wanted = numbered(11), {"crop": 0.3, "erasing": 0.5}
    alone = list(TrainingBatches(images, 5, CPU, ShiftAndFlip(), 0, augment=wanted).epoch(3))

    worlds = [World(rank, processes) for rank in range(processes)]
    parts = [list(TrainingBatches(images, 5, CPU, ShiftAndFlip(), 0, None, wanted, world).epoch(3)) for world in worlds]

    for step, (whole, labels) in enumerate(alone):
        assert torch.equal(torch.cat([part[step][0] for part in parts]), whole)
        assert all(torch.equal(part[step][1], labels) for part in parts)


def test_images_that_are_mixed_come_as_a_whole_to_every_process() -> None:
    batches = TrainingBatches(numbered(8), 4, CPU, None, 0, world=World(1, 2), needs_all=True)

    assert [len(batch) for batch, _ in batches.epoch(0)] == [4, 4]


def test_in_order_keeps_the_order() -> None:
    values = [int(value) for batch in in_order(numbered(7), 3, CPU) for value in batch[:, 0, 0, 0]]

    assert values == list(range(7))


def test_alternating_flips_show_each_image_both_ways_in_two_epochs() -> None:
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8), (6, 3, 8, 8))  # brighter to the right
    images = Images.from_pixels(np.ascontiguousarray(ramp), np.arange(6) % 2, ("a", "b"), None)
    augmentation = ShiftAndFlip(shift=0, flip=True, alternating=True)
    batches = TrainingBatches(images, 6, torch.device("cpu"), augmentation, seed=0)

    def mirrored(epoch: int) -> dict[int, bool]:
        order = torch.randperm(6, generator=torch.Generator().manual_seed(epoch))  # as the batches draw it, seed 0
        (pixels, _), *_ = batches.epoch(epoch)
        return {int(index): bool(row[0, 0, 0] == 7) for index, row in zip(order, pixels, strict=True)}

    first, second, third = mirrored(0), mirrored(1), mirrored(2)
    assert all(first[index] != second[index] for index in range(6))
    assert first == third
    assert len(set(first.values())) == 2  # a coin decides where each begins
