"""Augmentation: each function against torchvision or Pillow with the same parameters, and the key's written forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from transferkit.data.augmentation import BatchDraws, augment, colour, detail, geometry, levels, policies
from transferkit.data.augmentation.levels import as_uint8
from transferkit.data.augmented_examples import augmented_examples
from transferkit.data.batches import ShiftAndFlip, TrainingBatches
from transferkit.data.images import Images
from transferkit.recipe import Recipe, from_options
from transferkit.recipe.augmentation import AUGMENTATIONS, POLICIES
from transferkit.runtime.errors import TransferkitError
from transferkit.training.defaults import resolved

CPU = torch.device("cpu")
SIDE = 24


def pictures(count: int = 6, side: int = SIDE) -> Tensor:
    """Smooth colours with some noise, so that interpolation and order matter."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, side, mode="bicubic")
    return as_uint8(255 * smooth + 12 * torch.randn(count, 3, side, side, generator=generator))


def draws(count: int = 6, first: int = 0, seed: int = 0) -> BatchDraws:
    return BatchDraws(seed, 0, first, count, CPU)


def amounts(*values: float) -> Tensor:
    return torch.tensor(values)


def by_pillow(images: Tensor, change: Any) -> Tensor:
    """Each image through Pillow; `change` gets image and place."""
    changed = [np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()), i)) for i, image in enumerate(images)]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)


def largest_difference(first: Tensor, second: Tensor) -> float:
    return float((first.float() - second.float()).abs().max())


# ---- each function against an independent one ----


def test_a_crop_is_that_of_torchvision() -> None:
    images = pictures(3)
    top, left, rows, columns = amounts(0, 5, 2), amounts(3, 0, 4), amounts(24, 10, 7), amounts(15, 24, 8)

    cropped = geometry.resized_crop(images, top, left, rows, columns)

    for place in range(3):
        box = [int(values[place]) for values in (top, left, rows, columns)]
        expected = reference.resized_crop(images[place].float(), *box, size=[SIDE, SIDE])
        assert largest_difference(cropped[place], expected) <= 0.51  # ours is rounded


def test_crops_keep_the_asked_share_of_the_area_and_a_ratio_up_to_four_to_three(monkeypatch: Any) -> None:
    boxes: list[Tensor] = []
    monkeypatch.setattr(geometry, "resized_crop", lambda _, *box: boxes.extend(box))

    geometry.crop(torch.empty(2_000, 3, 200, 200, dtype=torch.uint8), 0.25, draws(2_000))

    top, left, rows, columns = boxes
    area, ratio = rows * columns / 200**2, columns / rows
    assert 0.245 < area.min() < 0.26
    assert area.max() > 0.98
    assert ratio.log().abs().max() < np.log(4 / 3) + 0.01
    assert (top + rows).max() == (left + columns).max() == 200
    assert abs(float(area.mean()) - 0.625) < 0.02  # uniform from 0.25 to 1


def test_rotation_is_that_of_torchvision_wherever_the_source_is_inside() -> None:
    images, degrees = pictures(4).float(), amounts(-90, -20, 33.3, 135)

    rotated = geometry.rotated(images, degrees)

    for place, angle in enumerate(degrees.tolist()):
        bilinear = {"interpolation": v2.InterpolationMode.BILINEAR}
        inside = reference.rotate(torch.ones(1, SIDE, SIDE), angle, **bilinear) > 0.999
        expected = reference.rotate(images[place], angle, **bilinear)
        assert inside.float().mean() > 0.6
        assert largest_difference(rotated[place] * inside, expected * inside) < 0.05


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (geometry.shifted_x, {"translate": [5.0, 0.0]}),
        (geometry.shifted_y, {"translate": [0.0, 5.0]}),
        (geometry.sheared_x, {"shear": [float(np.degrees(np.arctan(5 / 16))), 0.0]}),
        (geometry.sheared_y, {"shear": [0.0, float(np.degrees(np.arctan(5 / 16)))]}),
    ],
)
def test_shifts_and_shears_are_those_of_torchvision(ours: Any, theirs: dict[str, list[float]]) -> None:
    images = pictures(1).float()
    affine = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **theirs}
    affine["interpolation"] = v2.InterpolationMode.BILINEAR

    moved = ours(images, amounts(5.0 if "translate" in theirs else 5 / 16))

    inside = reference.affine(torch.ones(1, 1, SIDE, SIDE), **affine) > 0.999
    assert inside.float().mean() > 0.6
    assert largest_difference(moved * inside, reference.affine(images, **affine) * inside) < 0.05


def test_beyond_the_border_a_moved_image_goes_on_reflected() -> None:
    row = torch.tensor([10.0, 20, 30, 40]).expand(1, 3, 4, 4)

    moved = geometry.shifted_x(row, amounts(2.0))

    assert moved[0, 0, 0].tolist() == pytest.approx([20, 10, 10, 20], abs=1e-3)


def test_quarter_turns_are_those_of_numpy_and_each_is_as_frequent() -> None:
    images = pictures(1).expand(4_000, -1, -1, -1)[:, :, :8, :8]

    turned = geometry.quarter_turns(images, 0.75, draws(4_000))

    expected = [np.rot90(images[0].numpy(), turns, (1, 2)) for turns in range(4)]
    counts = [(turned == torch.from_numpy(one.copy())).flatten(1).all(1).sum().item() for one in expected]
    assert sum(counts) == 4_000
    assert all(900 < count < 1_100 for count in counts)


def test_quarter_turns_refuse_images_that_are_not_square() -> None:
    with pytest.raises(TransferkitError, match=r"quarter_turns needs square images; these have 8 x 10 px\."):
        geometry.quarter_turns(torch.zeros(2, 3, 8, 10, dtype=torch.uint8), 0.5, draws(2))


def test_a_vertical_flip_turns_rows_round_in_the_asked_share_of_images() -> None:
    images = pictures(1).expand(4_000, -1, -1, -1)[:, :, :4, :4]

    flipped = geometry.vertical_flip(images, 0.3, draws(4_000))

    changed = (flipped == images.flip(2)).flatten(1).all(1)
    assert torch.equal(flipped[~changed], images[~changed])
    assert 1_100 < changed.sum() < 1_300


@pytest.mark.parametrize("change", [-0.7, -0.2, 0.5])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (colour.brightened, reference.adjust_brightness),
        (colour.contrasted, reference.adjust_contrast),
        (colour.saturated, reference.adjust_saturation),
    ],
)
def test_colour_changes_are_those_of_torchvision(ours: Any, theirs: Any, change: float) -> None:
    images = pictures().float()

    changed = ours(images, amounts(change).expand(6)) / 255

    expected = torch.stack([theirs(image / 255, 1 + change) for image in images])
    assert largest_difference(changed, expected) < 1e-4


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.3])
def test_hue_is_turned_as_by_torchvision(turn: float) -> None:
    images = torch.cat([pictures(), torch.full((1, 3, SIDE, SIDE), 77, dtype=torch.uint8)]).float()

    turned = colour.hue_turned(images, amounts(turn).expand(7)) / 255

    assert largest_difference(turned, reference.adjust_hue(images / 255, turn)) < 1e-4


def test_grey_is_that_of_pillow() -> None:
    images = pictures()

    grey = colour.grey(images, 1.0, draws())

    expected = by_pillow(images, lambda image, _: image.convert("L").convert("RGB"))
    assert largest_difference(grey, expected) <= 1


def test_images_without_three_channels_have_no_colours_to_change() -> None:
    with pytest.raises(TransferkitError, match="needs red, green and blue; these images have 13 channels"):
        colour.colour(torch.zeros(2, 13, 8, 8, dtype=torch.uint8), 0.4, draws(2))


def test_blur_is_the_gaussian_of_torchvision() -> None:
    images, sigma = pictures(3), amounts(0.4, 1.0, 2.5)

    blurred = detail.blurred(images, sigma, reach=8)

    for place, width in enumerate(sigma.tolist()):
        expected = reference.gaussian_blur(images[place].float(), [17, 17], [width, width])
        assert largest_difference(blurred[place], expected) <= 0.51


def test_sharpness_is_that_of_pillow() -> None:
    images, change = pictures(), amounts(-0.9, -0.5, 0.0, 0.3, 0.6, 0.99)

    sharpened = as_uint8(detail.sharpened(images.float(), change))

    expected = by_pillow(images, lambda image, i: ImageEnhance.Sharpness(image).enhance(1 + float(change[i])))
    assert largest_difference(sharpened, expected) <= 2  # Pillow rounds the smoothed copy first
    assert ImageFilter.SMOOTH.filterargs[2:] == (0, (1, 1, 1, 1, 5, 1, 1, 1, 1))


def test_posterize_solarize_autocontrast_and_equalize_are_those_of_pillow() -> None:
    images = pictures() // 2 + 30
    images[5] = 40  # one level alone
    bits, threshold = amounts(8, 7, 5, 4, 3, 2), amounts(256, 200, 128, 60, 1, 0)

    changed = {
        "posterize": levels.posterized(images.float(), bits),
        "solarize": levels.solarized(images.float(), threshold),
        "autocontrast": levels.autocontrasted(images.float(), threshold),
        "equalize": levels.equalized(images.float(), threshold),
    }

    expected = {
        "posterize": by_pillow(images, lambda image, i: ImageOps.posterize(image, int(bits[i]))),
        "solarize": by_pillow(images, lambda image, i: ImageOps.solarize(image, int(threshold[i]))),
        "autocontrast": by_pillow(images, lambda image, _: ImageOps.autocontrast(image)),
        "equalize": by_pillow(images, lambda image, _: ImageOps.equalize(image)),
    }
    differences = {name: largest_difference(as_uint8(changed[name]), expected[name]) for name in changed}
    assert differences == {"posterize": 0, "solarize": 0, "autocontrast": 1, "equalize": 0}  # Pillow rounds down


def test_an_erased_rectangle_is_one_colour_of_two_to_forty_per_cent_and_the_rest_stays() -> None:
    images = pictures(1, 40).expand(600, -1, -1, -1)

    erased = detail.erasing(images, 1.0, draws(600))

    changed = (erased != images).any(1)  # (B, H, W)
    for image, mask in zip(erased, changed, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        box = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert largest_difference(box, box[:, :1, :1].expand_as(box)) == 0
    shares = changed.float().mean((1, 2))
    assert 0.01 < shares.min() < 0.06
    assert 0.3 < shares.max() < 0.42
    assert 0.2 < (detail.erasing(images, 0.25, draws(600)) != images).flatten(1).any(1).float().mean() < 0.3


# ---- the two policies that draw for each image ----


def theirs_at(policy: Any, side: int) -> dict[str, tuple[Tensor, bool]]:
    """torchvision's ranges by our names."""
    words = {"Color": "colour", "AutoContrast": "autocontrast"}
    return {
        words.get(name, "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")): (
            magnitudes(31, side, side),
            signed,
        )
        for name, (magnitudes, signed) in policy._AUGMENTATION_SPACE.items()
    }


@pytest.mark.parametrize(
    ("ours", "theirs"), [(policies.RANDAUGMENT, v2.RandAugment), (policies.TRIVIAL, v2.TrivialAugmentWide)]
)
def test_the_ranges_are_those_of_torchvision(ours: dict[str, policies.Range], theirs: Any) -> None:
    expected = theirs_at(theirs, 32)

    assert set(ours) == set(expected)
    steps, plus = torch.linspace(0, 1, 31), torch.ones(31)
    for name, (magnitudes, signed) in expected.items():
        assert ours[name].signed == signed
        if magnitudes is not None and name != "solarize":  # its threshold is 0 to 1 there
            found = ours[name].amounts(steps, plus, 32)
            found = found.round() if name == "posterize" else found
            assert largest_difference(found, magnitudes) <= (1 if name == "posterize" else 1e-5)
    assert ours["solarize"].amounts(amounts(0.0, 1.0), plus[:2], 32).tolist() == [256, 0]


def test_trivial_augment_gives_each_image_one_operation_and_all_are_as_frequent(monkeypatch: Any) -> None:
    counts: dict[str, int] = {}
    for name in policies.OPERATIONS:

        def counted(images: Tensor, _: Tensor, name: str = name) -> Tensor:
            counts[name] = counts.get(name, 0) + len(images)
            return images

        monkeypatch.setitem(policies.OPERATIONS, name, counted)

    policies.trivial(torch.zeros(14_000, 3, 2, 2, dtype=torch.uint8), 1.0, draws(14_000))

    assert set(counts) == set(policies.OPERATIONS) - {"identity"}
    assert all(880 < count < 1_120 for count in counts.values())


# ---- in training ----


def numbered(count: int) -> Images:
    return Images.from_pixels(pictures(count, 8).numpy(), np.zeros(count, np.int64), ["a"])


def epoch_of(batch_size: int, wanted: Any, number: int = 2) -> Tensor:
    batches = TrainingBatches(numbered(12), batch_size, CPU, None, seed=4, augment=wanted)
    return torch.cat([batch for batch, _ in batches.epoch(number)])


def test_an_epoch_is_the_same_in_batches_of_any_size() -> None:
    wanted = {"crop": 0.3, "trivial": 1.0, "erasing": 0.5}

    assert torch.equal(epoch_of(12, wanted), epoch_of(3, wanted))
    assert not torch.equal(epoch_of(12, wanted), epoch_of(12, wanted, number=3))


def test_the_same_function_at_another_place_draws_other_numbers() -> None:
    first, second = (draws().of_function(place).uniform(3) for place in (0, 1))

    assert not torch.equal(first, second)
    assert torch.equal(draws(6).uniform(7)[2:4], draws(2, first=2).uniform(7))


def test_draws_are_uniform() -> None:
    numbers = draws(100_000).uniform(3)

    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.005)
    assert largest_difference(torch.corrcoef(numbers.T), torch.eye(3)) < 0.02


def test_a_function_of_ones_own_gets_the_uint8_batch() -> None:
    def inverted(images: Tensor) -> Tensor:
        return 255 - images

    assert torch.equal(epoch_of(4, inverted), 255 - epoch_of(4, {}))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda images: images.float(),
            r"gave float32 of shape \(2, 3, 8, 8\)\. Expected uint8 of shape \(2, 3, 8, 8\)",
        ),
        (lambda images: images[:1], r"gave uint8 of shape \(1, 3, 8, 8\)\."),
        (lambda _: None, r"gave NoneType\. Expected a tensor, uint8 of shape"),
    ],
)
def test_a_function_of_ones_own_that_gives_something_else_is_told(function: Any, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        augment(pictures(2, 8), function, draws(2))


def test_examples_are_the_image_and_seven_copies_in_rows() -> None:
    images = numbered(9)

    sheet = augmented_examples(images, ShiftAndFlip(0.0, flip=False), {"vertical_flip": 1.0}, seed=0)

    assert sheet.shape == (3, 4 * 8 + 3 * 2, 8 * 8 + 7 * 2)
    third = images.pixels[5]  # of places 0, 2, 5 and 8
    assert np.array_equal(sheet[:, 20:28, :8], third)
    assert np.array_equal(sheet[:, 20:28, 70:78], third[:, ::-1])
    assert (sheet[:, 8:10] == 255).all()


def test_the_pictures_of_a_sheet_are_small() -> None:
    images = Images.from_pixels(np.full((2, 3, 100, 200), 7, np.uint8), np.zeros(2, np.int64), ["a"])

    assert augmented_examples(images, ShiftAndFlip(), {}, seed=0).shape == (3, 2 * 32 + 2, 8 * 64 + 7 * 2)


# ---- the key ----


def key(value: Any) -> Any:
    return from_options("finetune", "resnet18", "digits", {"augment": value}, ()).method.augment  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rotation=15,colour=0.4", {"rotation": 15.0, "colour": 0.4}),
        (["rotation", "colour=0.2"], {"rotation": 15.0, "colour": 0.2}),
        ([{"rotation": 3}], {"rotation": 3.0}),
        ({"blur": 2}, {"blur": 2.0}),
        ("trivial", {"trivial": 1.0}),
        ("overhead, erasing", {"vertical_flip": 0.5, "quarter_turns": 0.75, "erasing": 0.25}),
        ("none", {}),
        (None, {}),
    ],
)
def test_every_form_of_the_key_is_a_mapping_in_order(written: Any, meant: dict[str, float]) -> None:
    assert key(written) == meant
    assert list(key(written)) == list(meant)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("rotatoin=3", r"Unknown augmentation 'rotatoin'\. Did you mean 'rotation'\?"),
        (
            "rotation=200",
            r"rotation=200 is no strength from 0 to 180: the largest angle in degrees, either way\. 15 is",
        ),
        ("rotation=much", r"rotation=much is no strength"),
        ("blur=nan", r"blur=nan is no strength"),
        ("crop,deit", r"augment has crop twice\. Leave one of them out\."),
        ("simclr=2", r"simclr is a policy without a strength\. Write simclr, or its parts: crop=0\.08,colour=0\.8,"),
        (3, r"augment is 3\. Write rotation=15,colour=0\.4 or trivial\."),
    ],
)
def test_a_mistake_in_the_key_is_told(written: Any, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        key(written)


def mirrored(images: Tensor) -> Tensor:
    return images.flip(3)


def test_a_recipes_file_holds_the_name_of_ones_own_function_and_never_runs_it() -> None:
    recipe = from_options("finetune", "resnet18", "digits", {"augment": mirrored}, ())

    again = Recipe.from_yaml(recipe.to_yaml())

    assert again.short_hash == recipe.short_hash
    with pytest.raises(TransferkitError, match=r"mirrored, a function that was given in Python; a recipe's file holds"):
        augment(pictures(2), again.method.augment, draws(2))  # type: ignore[attr-defined]


def test_a_crop_takes_the_place_of_the_shift() -> None:
    shifts = [
        resolved(from_options("finetune", "resnet18", "digits", {"augment": wanted}, ()), 800, 8).method.shift  # type: ignore[attr-defined]
        for wanted in ("none", "rotation", "crop", mirrored)
    ]

    assert shifts == [0.125, 0.125, 0.0, 0.125]


def test_the_page_of_docs_lists_the_menu_with_its_strengths() -> None:
    page = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text(encoding="utf-8")

    for name, entry in AUGMENTATIONS.items():
        assert re.search(
            rf"^\| `{name}` \| {re.escape(entry.means)}.*\| {entry.usual:g} \| {entry.off:g} \|$", page, re.M
        )
    for name, parts in POLICIES.items():
        assert f"| `{name}` | `{','.join(f'{part}={strength:g}' for part, strength in parts.items())}` |" in page
