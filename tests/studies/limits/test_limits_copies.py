"""Images from elsewhere that are the run's own over again: removed and told, alike for --ood, --shift and --field."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import transferkit
from transferkit.data.duplicates import likeness
from transferkit.data.images import Images
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits.contamination import own_images
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.subject import OwnParts

NAMES = ("cat", "dog")
Pixels = npt.NDArray[np.uint8]


def noise(count: int, seed: int) -> Images:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)
    return Images.from_pixels(pixels, np.zeros(count), NAMES)


def digests_of(images: Images) -> frozenset[bytes]:
    return frozenset(digest.tobytes() for digest in images.digests)


def subject_of(train: Images, val: Images) -> Any:
    return SimpleNamespace(images=OwnParts(train, val, noise(4, 9)), learnt=digests_of(train))


def darkened(images: Images) -> Pixels:
    """Half the contrast, and brighter in the shadows: every difference keeps its sign."""
    return (images.pixels // 2 + 60).astype(np.uint8)


def image_set(*parts: Pixels) -> ImageSet:
    pixels = np.concatenate(parts)
    return ImageSet("stones", "", Images.from_pixels(pixels, np.zeros(len(pixels)), NAMES), None, 16)


# ---- what a copy is ----


def test_likeness_is_the_correlation_with_the_most_alike_train_image() -> None:
    train, other = noise(3, 0), noise(1, 1)
    asked = Images.from_pixels(np.concatenate([train.pixels[[2]], other.pixels]), np.zeros(2), NAMES)
    grey = [np.tensordot([0.299, 0.587, 0.114], pixels, 1).ravel() for pixels in (*train.pixels, other.pixels[0])]

    found = likeness(train, asked)

    assert found[0] == pytest.approx(1, abs=1e-5)
    assert found[1] == pytest.approx(max(np.corrcoef(grey[3], each)[0, 1] for each in grey[:3]), abs=1e-5)


def test_a_blank_image_is_like_no_other() -> None:
    blank = Images.from_pixels(np.full((1, 3, 16, 16), 90, np.uint8), np.zeros(1), NAMES)

    assert likeness(blank, noise(2, 0)).tolist() == [0, 0]


def test_a_brightened_copy_of_a_train_image_is_removed_and_told() -> None:
    train = noise(20, 0)
    own = own_images(subject_of(train, noise(20, 1)))

    found = own.removed_from(image_set(noise(3, 2).pixels, darkened(train)[[1]]))

    assert found.images.ids == ("0", "1", "2")
    assert found.notes == (
        "stones: 1 of 4 images removed as near copies of train images (correlation of 0.950 and more in grey at 16 px; "
        "98 % of the val images have less): 3",
    )


def test_images_with_the_very_pixels_of_train_val_or_test_are_removed_and_listed() -> None:
    subject = subject_of(noise(20, 0), noise(20, 1))
    same = [getattr(subject.images, part).pixels[[0]] for part in ("train", "val", "test")]

    found = own_images(subject).removed_from(image_set(noise(2, 2).pixels, *same))

    assert len(found) == 2
    assert found.notes == ("stones: 3 of 5 images removed as the run's own: 2, 3, 4",)


def test_train_images_outside_the_sample_count_as_own() -> None:
    train = noise(20, 0)
    subject = subject_of(train.subset(range(5)), noise(20, 1))
    subject.learnt = digests_of(train)

    found = own_images(subject).removed_from(image_set(noise(2, 2).pixels, train.pixels[[15]]))

    assert len(found) == 2


def test_where_val_images_look_like_train_too_likeness_alone_makes_no_copy() -> None:
    """Every image is one drawing with a little noise: different images correlate as much as copies do elsewhere."""
    drawing = noise(1, 0).pixels // 2

    def drawn(count: int, seed: int) -> Images:
        return Images.from_pixels((drawing + noise(count, seed).pixels // 16).astype(np.uint8), np.zeros(count), NAMES)

    own = own_images(subject_of(drawn(50, 1), drawn(100, 2)))
    others = drawn(100, 3)

    found = own.removed_from(image_set(others.pixels, darkened(drawn(50, 1))[:10]))

    assert likeness(own.train, others).min() > 0.95
    assert own.least_alike > 0.95
    assert sum(int(name) < 100 for name in found.images.ids) >= 90  # 2 % are expected to go
    assert not any(int(name) >= 100 for name in found.images.ids)


def test_val_images_that_are_in_train_do_not_move_the_limit() -> None:
    train = noise(20, 0)
    val = Images.from_pixels(np.concatenate([noise(10, 1).pixels, train.pixels[:10]]), np.zeros(20), NAMES)

    assert own_images(subject_of(train, val)).least_alike == 0.95


def test_a_set_of_nothing_but_own_images_is_refused() -> None:
    train = noise(20, 0)
    own = own_images(subject_of(train, noise(20, 1)))
    message = (
        r"All 30 images of stones are the run's own images \(20\) or near copies of its train images \(10\), so that "
        r"none is left to judge\. Expected images that the run was not made with"
    )

    with pytest.raises(TransferkitError, match=message):
        own.removed_from(image_set(train.pixels, darkened(train)[:10]))


# ---- in a report ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 40 oblong noise images; those of cat are dark."""
    place = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(NAMES):
        save(noise(40, label), label, place / name, "photo")
    return place


def save(images: Images, label: int, place: Path, name: str) -> None:
    place.mkdir(parents=True)
    for index, pixels in enumerate(images.pixels.transpose(0, 2, 3, 1)):
        Image.fromarray(pixels // (2 - label)).resize((24, 16)).save(place / f"{name}{index}.png")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return transferkit.probe("resnet-mini", f"folder:{folder}", weights="none", size=16, C=0.01, out=out, quiet=True)


def mixed(place: Path, folder: Path) -> Path:
    """Five other images of each class, and two of the run's own."""
    for label, name in enumerate(NAMES):
        save(noise(5, 7 + label), label, place / name, "other")
        (place / name / "own.png").write_bytes((folder / name / "photo3.png").read_bytes())
    return place


FAST = {"corruptions": "none", "leave_out": "none", "sweeps": False, "quiet": True}


def test_a_report_counts_no_own_image_in_any_kind_of_set_and_says_so(run: Run, folder: Path, tmp_path: Path) -> None:
    place = str(mixed(tmp_path / "mixed", folder))
    names = {"ood": f"ood={place}", "shift": f"shift={place}", "field": place}

    report = transferkit.limits(run, out=tmp_path / "report", **names, **FAST)

    assert isinstance(report, LimitsReport)
    rows = {"ood": report.unknown.sets[0], "shift": report.shift[0], "mixed": report.field}
    page = (tmp_path / "report" / "limits.html").read_text()
    for name, row in rows.items():
        note = f"{name}: 2 of 12 images removed as the run's own: "
        assert row is not None
        assert row.n == 10
        assert any(line.startswith(note) for line in row.notes)
        assert any(line.startswith(note) for line in report.notes)
    assert (
        page.count("shift: 2 of 12 images removed as the run&#39;s own") == 2
    )  # among the notes, and beside its numbers
    assert page.count("mixed: 2 of 12 images removed as the run&#39;s own") == 2


def test_val_images_that_a_fine_tuning_learnt_from_are_its_own(folder: Path, tmp_path: Path) -> None:
    tuned = transferkit.finetune(
        "resnet-mini", f"folder:{folder}", weights="none", size=16, epochs=1, out=tmp_path / "run", quiet=True
    )
    assert tuned.recipe.method.refit  # its limits are learnt on test images, so that val is no part of the report

    with pytest.raises(TransferkitError, match=r"All 80 images of .* are the run's own images \(80\)"):
        transferkit.limits(tuned, out=tmp_path / "report", ood=str(folder), **FAST)


@pytest.mark.parametrize("option", ["ood", "shift", "field"])
def test_the_folder_a_run_was_made_with_is_refused_as_a_test_of_it(
    option: str, run: Run, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(TransferkitError, match=rf"All 80 images of {folder.name} are the run's own images \(80\)"):
        transferkit.limits(run, out=tmp_path / "report", **{option: str(folder)}, **FAST)
