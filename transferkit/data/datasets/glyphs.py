"""Capital letters drawn from the fonts that ship with matplotlib: affine, colour and noise at random, from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit.data.datasets.outline import Outline
from transferkit.data.images import Images, Pixels, Splits
from transferkit.data.splitting import divided
from transferkit.recipe import GlyphsData
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError

Floats: TypeAlias = npt.NDArray[np.float32]

CLASS_NAMES = tuple(ascii_uppercase)
# Text families alone: matplotlib's cmsy, cmex, cmmi, STIXSiz*, STIXNonUni* and *Display hold symbols, not letters.
FONT_PATTERNS = ("DejaVu*.ttf", "STIXGeneral*.ttf", "cmr10.ttf", "cmb10.ttf", "cmss10.ttf", "cmtt10.ttf")
SAMPLES = 2  # per side of a pixel: four samples are averaged into one
IMAGES_AT_ONCE = 512

ROTATION = 0.3  # radians, to either side
SHEAR = 0.25
SCALE = (0.6, 1.0)  # of the letter's longer side, as a share of the image
STRETCH = 0.2  # one side relative to the other
NOISE = 0.08  # largest standard deviation, as a share of white
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class _Pose:
    """How each of B letters lies in its image: `inverse` (B, 2, 2) takes image to letter coordinates, in [-1, 1]."""

    inverse: Floats
    shift: Floats


def load(settings: GlyphsData, console: Console) -> Splits:  # noqa: ARG001 - nothing here takes long
    """Letters A to Z, `per_class` of each; a stratified share is sealed as test.

    The same settings and the same versions of matplotlib and Pillow draw the same pixels.

    Raises:
        MachineError: If matplotlib's fonts are missing.
    """
    pixels, ids = drawn(settings.per_class, settings.size, settings.drawing_seed)
    labels = np.repeat(np.arange(len(CLASS_NAMES)), settings.per_class)
    return divided(Images.from_pixels(pixels, labels, CLASS_NAMES, ids), settings.test_fraction, settings)


def outline(settings: GlyphsData) -> Outline:
    """As many as are drawn."""
    classes = len(CLASS_NAMES)
    return Outline.divided(classes * settings.per_class, settings.test_fraction, classes, settings.size)


def drawn(per_class: int, size: int, seed: int) -> tuple[Pixels, list[str]]:
    """Pixels (26 x per_class, 3, size, size), letter after letter, and an id for each that names letter and font."""
    paths = fonts()
    masks = np.stack([_letter_masks(path, SAMPLES * size) for path in paths])  # (F, 26, S, S)
    generator = np.random.default_rng(seed)
    letters = np.repeat(np.arange(len(CLASS_NAMES)), per_class)
    chosen = generator.integers(len(paths), size=len(letters))
    pixels = np.empty((len(letters), 3, size, size), dtype=np.uint8)
    for start in range(0, len(letters), IMAGES_AT_ONCE):
        batch = slice(start, start + IMAGES_AT_ONCE)
        pixels[batch] = _images(masks[chosen[batch], letters[batch]], size, generator)
    numbers = np.tile(np.arange(per_class), len(CLASS_NAMES))
    ids = [
        f"{CLASS_NAMES[letter]}-{number:04d}-{paths[font].stem}"
        for letter, number, font in zip(letters, numbers, chosen, strict=True)
    ]
    return pixels, ids


def fonts() -> list[Path]:
    """The text fonts among those that ship with matplotlib, sorted.

    Raises:
        MachineError: If there are none.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = {path for pattern in FONT_PATTERNS for path in folder.glob(pattern) if "Display" not in path.stem}
    if not paths:
        raise MachineError(
            f"No DejaVu fonts in {folder}. Install matplotlib anew: pip install --force-reinstall matplotlib"
        )
    return sorted(paths)


def _letter_masks(font_path: Path, size: int) -> Floats:
    """(26, size, size), each capital letter of a font, its longer side filling the square, 1 where there is ink."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(font_path), 2 * size)
    masks = np.zeros((len(CLASS_NAMES), size, size), dtype=np.float32)
    for index, letter in enumerate(CLASS_NAMES):
        left, top, right, bottom = font.getbbox(letter)
        side = max(right - left, bottom - top)
        canvas = Image.new("L", (int(side), int(side)))
        place = ((side - right - left) / 2, (side - bottom - top) / 2)
        ImageDraw.Draw(canvas).text(place, letter, fill=255, font=font)
        masks[index] = np.asarray(canvas.resize((size, size), Image.Resampling.BILINEAR)) / np.float32(255)
    return masks


def _images(masks: Floats, size: int, generator: np.random.Generator) -> Pixels:
    """(B, 3, size, size) from letters (B, S, S): posed, coloured, with noise."""
    count = len(masks)
    ink = _sampled(masks, _poses(count, generator), size)[:, None]  # (B, 1, H, W)
    background, foreground = contrasting_colours(count, generator)
    sigma = generator.uniform(0, NOISE, (count, 1, 1, 1)).astype(np.float32)
    noise = generator.standard_normal((count, 3, size, size), dtype=np.float32)
    values = background + (foreground - background) * ink + sigma * noise
    pixels: Pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return pixels


def _poses(count: int, generator: np.random.Generator) -> _Pose:
    """Random rotation, shear, size and stretch, and a shift that keeps most of the letter inside."""
    angle = generator.uniform(-ROTATION, ROTATION, count)
    shear = generator.uniform(-SHEAR, SHEAR, count)
    scale = generator.uniform(*SCALE, count)
    stretch = np.exp(generator.uniform(-STRETCH, STRETCH, count) / 2)
    shift = generator.uniform(-1, 1, (count, 2)) * (1 - scale)[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    forward = np.stack([cos, shear * cos - sin, sin, shear * sin + cos], axis=1).reshape(count, 2, 2)
    forward *= np.stack([scale * stretch, scale / stretch], axis=1)[:, None, :]
    return _Pose(np.linalg.inv(forward).astype(np.float32), shift.astype(np.float32))


def _sampled(masks: Floats, pose: _Pose, size: int) -> Floats:
    """(B, size, size), the posed letters, by bilinear sampling at several points per pixel."""
    points = SAMPLES * size
    centres = (np.arange(points) + 0.5) / points * 2 - 1
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2).astype(np.float32)  # (P, 2), x before y
    source = (grid[None] - pose.shift[:, None]) @ pose.inverse.transpose(0, 2, 1)  # (B, P, 2)
    ink = _bilinear(masks, source.astype(np.float32, copy=False))
    pixels: Floats = ink.reshape(len(masks), size, SAMPLES, size, SAMPLES).mean(axis=(2, 4))
    return pixels


def _bilinear(masks: Floats, source: Floats) -> Floats:
    """(B, P), the masks (B, S, S) at points (B, P, 2) in [-1, 1]; nothing outside."""
    side = masks.shape[-1]
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1))).reshape(len(masks), -1)
    position = np.clip((source + 1) * (side / 2) + 0.5, 0, side + 0.999)  # in px of the padded mask
    corner = position.astype(np.int32)
    right, down = np.moveaxis(position - corner.astype(np.float32), -1, 0)
    first = corner[..., 1] * (side + 2) + corner[..., 0]
    values = [np.take_along_axis(padded, first + offset, axis=1) for offset in (0, 1, side + 2, side + 3)]
    upper = values[0] + (values[1] - values[0]) * right
    lower = values[2] + (values[3] - values[2]) * right
    between: Floats = upper + (lower - upper) * down
    return between


def contrasting_colours(count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Background and foreground (B, 3, 1, 1) in [0, 1]; of four random pairs the one with most contrast."""
    pairs = generator.random((count, 4, 2, 3), dtype=np.float32)
    contrast = np.abs((pairs[:, :, 0] - pairs[:, :, 1]) @ LUMA)  # (B, 4)
    best = pairs[np.arange(count), contrast.argmax(axis=1)]  # (B, 2, 3)
    return best[:, 0, :, None, None], best[:, 1, :, None, None]
