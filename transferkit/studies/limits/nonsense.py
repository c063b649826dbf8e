"""Images that show nothing a class name could mean (noise, blanks, known images taken apart): how many get one?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit.data.corruptions.draws import seed_of
from transferkit.data.images import Images, Pixels
from transferkit.metrics.outputs import Outputs
from transferkit.ood import SUMMARY_SCORE
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.limits.detectors import Detectors
from transferkit.studies.limits.out_of_distribution import accepted_of
from transferkit.studies.limits.shares import Share, share_of
from transferkit.studies.limits.subject import LimitsSubject

Floats: TypeAlias = npt.NDArray[np.float64]

PER_SET = 200
LEAST_PX = 8
GRID = 4  # patches per side
LEVELS = (0, 128, 255)  # per channel; 27 colours
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SAMPLES = 4  # letters are drawn at four times the size and averaged


@dataclass(frozen=True)
class Sources:
    """The images of known classes that nonsense is made from or must match.

    Attributes:
        pixels: (N, 3, H, W) uint8, drawn without replacement.
        generator: Of one set.
    """

    pixels: Pixels
    generator: np.random.Generator

    @property
    def bands(self) -> int:
        """Of each image."""
        return int(self.pixels.shape[1])

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.shape[2], self.pixels.shape[3]


def image_sets(images: Images, seed: int = 0, n: int = PER_SET) -> dict[str, Images]:
    """Every set of the menu, of the size of the given images and about as many as asked for.

    Args:
        images: Of known classes, such as the test images; those taken apart below are drawn from them.
        seed: Another seed, other images.
        n: Images per set; there are 27 constant colours (3 in grey), and no more taken-apart images than given ones.

    Returns:
        Sets by name, each with its name as the one class; ids of taken-apart images are those of their sources.

    Raises:
        TransferkitError: If there are no images, or a side is below 8 px.
    """
    if not len(images) or min(images.size_px) < LEAST_PX or n < 1:
        raise TransferkitError(
            f"Nonsense images need at least one image of at least {LEAST_PX} px to take size and content from, and "
            f"n >= 1; got {counted(len(images), 'image')} of {images.size_px[0]} x {images.size_px[1]} px and n = {n}."
        )
    return {name: _image_set(name, images, seed, n) for name in SETS}


def _image_set(name: str, images: Images, seed: int, n: int) -> Images:
    rows = np.sort(_generator("sources", seed).permutation(len(images))[:n])  # the same for all sets
    wanted = rows if name in TAKEN_APART else np.resize(rows, n)
    pixels = SETS[name](Sources(images.take(wanted), _generator(name, seed)))
    ids = [images.ids[row] for row in rows] if name in TAKEN_APART else [f"{name}/{i:03d}" for i in range(len(pixels))]
    return Images.from_pixels(pixels, np.zeros(len(pixels)), (name,), ids)


def _generator(key: str, seed: int) -> np.random.Generator:
    return np.random.default_rng(seed_of(f"nonsense/{key}", seed, 0))


def _as_pixels(values: Floats) -> Pixels:
    """[0, 255] -> uint8, rounded."""
    pixels: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return pixels


# ------------------------------------------------------------------------------------------------- noise and blanks


def uniform_noise(sources: Sources) -> Pixels:
    """Every value uniform in 0..255."""
    return sources.generator.integers(0, 256, sources.pixels.shape, dtype=np.uint8)


def gaussian_noise(sources: Sources) -> Pixels:
    """Normal, with the mean and standard deviation that the known images have in each channel."""
    mean, deviation = (
        statistic(sources.pixels, axis=(0, 2, 3), keepdims=True, dtype=np.float64) for statistic in (np.mean, np.std)
    )
    return _as_pixels(mean + deviation * sources.generator.standard_normal(sources.pixels.shape))


def constant_colours(sources: Sources) -> Pixels:
    """The 27 colours whose channels are 0, 128 or 255; black, grey and white are among them.

    Of more than three bands, those three greys and 24 of the many other mixtures, drawn by chance.
    """
    if sources.bands <= 3:
        colours = np.array(list(product(LEVELS, repeat=sources.bands)), dtype=np.uint8)
    else:
        greys = np.repeat(np.array(LEVELS)[:, None], sources.bands, axis=1)
        mixtures = sources.generator.choice(LEVELS, (len(LEVELS) ** 3 - len(LEVELS), sources.bands))
        colours = np.concatenate([greys, mixtures]).astype(np.uint8)
    return np.broadcast_to(colours[:, :, None, None], (*colours.shape, *sources.sides)).copy()


# ------------------------------------------------------------------------------------------------- patterns


def checkerboards(sources: Sources) -> Pixels:
    """Squares of 1 px to a quarter of the shorter side, in two colours, shifted at random."""
    count, (height, width) = len(sources.pixels), sources.sides
    cells = sources.generator.integers(1, min(height, width) // 4 + 1, count)[:, None]
    shifts = sources.generator.integers(0, 2 * cells, (count, 2))
    rows = (np.arange(height) + shifts[:, :1]) // cells
    columns = (np.arange(width) + shifts[:, 1:]) // cells
    return _between_colours((rows[:, :, None] + columns[:, None, :]) % 2, sources)


def gradients(sources: Sources) -> Pixels:
    """From one colour to another along a random direction, corner to corner."""
    height, width = sources.sides
    angle = sources.generator.uniform(0, 2 * np.pi, (len(sources.pixels), 1, 1))
    ramp = np.sin(angle) * np.linspace(-1, 1, height)[:, None] + np.cos(angle) * np.linspace(-1, 1, width)
    ramp -= ramp.min(axis=(1, 2), keepdims=True)
    return _between_colours(ramp / ramp.max(axis=(1, 2), keepdims=True), sources)


def text(sources: Sources) -> Pixels:
    """Letters and digits in 2 x 2 to 4 x 4 tiles, in two colours, in the fonts that ship with matplotlib."""
    from transferkit.data.datasets.glyphs import fonts

    paths = [str(path) for path in fonts()]
    masks = [_written(sources.generator.choice(paths), sources) for _ in sources.pixels]
    return _between_colours(np.stack(masks), sources)


def _written(font_path: str, sources: Sources) -> Floats:
    """(H, W) in [0, 1], random characters in equal tiles."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = sources.sides
    tiles = int(sources.generator.integers(2, 5))
    tile_height, tile_width = SAMPLES * height / tiles, SAMPLES * width / tiles
    canvas = Image.new("L", (SAMPLES * width, SAMPLES * height))
    font = ImageFont.truetype(font_path, max(int(0.9 * min(tile_height, tile_width)), 4))
    draw = ImageDraw.Draw(canvas)
    for row, column in product(range(tiles), repeat=2):
        place = (column + 0.5) * tile_width, (row + 0.5) * tile_height
        draw.text(place, str(sources.generator.choice(list(LETTERS))), fill=255, font=font, anchor="mm")
    return np.asarray(canvas.reduce(SAMPLES), dtype=np.float64) / 255


def _between_colours(share: npt.NDArray[np.float64] | npt.NDArray[np.int64], sources: Sources) -> Pixels:
    """(N, 3, H, W): the first colour where `share` (N, H, W) is 0, the second where it is 1; the widest of 4 pairs."""
    pairs = sources.generator.uniform(0, 255, (len(share), 4, 2, sources.bands))
    widest = np.abs(pairs[:, :, 0] - pairs[:, :, 1]).sum(axis=-1).argmax(axis=1)
    first, second = np.moveaxis(pairs[np.arange(len(share)), widest][..., None, None], 1, 0)  # (N, 3, 1, 1) each
    return _as_pixels(first + (second - first) * share[:, None])


# ------------------------------------------------------------------------------------------------- taken apart


def shuffled_patches(sources: Sources) -> Pixels:
    """Known images cut into 4 x 4 patches that change places; rows and columns that do not divide by 4 stay."""
    count, (height, width) = len(sources.pixels), (side // GRID * GRID for side in sources.sides)
    shape = (count, sources.bands, GRID, height // GRID, GRID, width // GRID)
    patches = sources.pixels[:, :, :height, :width].reshape(shape).transpose(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(count, GRID * GRID, sources.bands, height // GRID, width // GRID)
    order = sources.generator.permuted(np.tile(np.arange(GRID * GRID), (count, 1)), axis=1)
    patches = np.take_along_axis(patches, order[:, :, None, None, None], axis=1)
    patches = patches.reshape(count, GRID, GRID, sources.bands, height // GRID, width // GRID).transpose(
        0, 3, 1, 4, 2, 5
    )
    shuffled = sources.pixels.copy()
    shuffled[:, :, :height, :width] = patches.reshape(count, sources.bands, height, width)
    return shuffled


def scrambled_phases(sources: Sources) -> Pixels:
    """Known images with the amplitudes of their spectrum and their mean colour, but the phases of noise.

    The same phases are added in all channels, so that the colours stay related.
    """
    noise = sources.generator.standard_normal((len(sources.pixels), 1, *sources.sides))
    turn = np.exp(1j * np.angle(np.fft.rfft2(noise)))
    turn[..., 0, 0] = 1
    return _as_pixels(np.fft.irfft2(np.fft.rfft2(sources.pixels.astype(np.float64)) * turn, s=sources.sides))


def inverted(sources: Sources) -> Pixels:
    """Known images as negatives."""
    return 255 - sources.pixels


def rotated_180(sources: Sources) -> Pixels:
    """Known images upside down. Where that is a known class again (a digit 0, a ball), acceptance is no fault."""
    return sources.pixels[:, :, ::-1, ::-1].copy()


SETS: dict[str, Callable[[Sources], Pixels]] = {
    "uniform_noise": uniform_noise,
    "gaussian_noise": gaussian_noise,
    "constant_colours": constant_colours,
    "checkerboards": checkerboards,
    "gradients": gradients,
    "text": text,
    "shuffled_patches": shuffled_patches,
    "scrambled_phases": scrambled_phases,
    "inverted": inverted,
    "rotated_180": rotated_180,
}
NOISE_AND_BLANKS = ("uniform_noise", "gaussian_noise", "constant_colours")
TAKEN_APART = ("shuffled_patches", "scrambled_phases", "inverted", "rotated_180")
KEPT_MEANING = ("inverted", "rotated_180")  # still pictures of something


# --------------------------------------------------------------------------------------- what the model makes of them


@dataclass(frozen=True)
class NonsenseRow:
    """What the model makes of one kind of image.

    Attributes:
        name: Of the kind.
        is_meaningless: Whether nothing is left to recognise.
        accepted: By the shipped threshold.
        accepted_by_summary_score: By that score's; None where it is off.
        confidence: Mean.
        called: The class most often answered, for `called_share` of the images.
    """

    name: str
    is_meaningless: bool
    n: int
    accepted: Share
    accepted_by_summary_score: Share | None
    confidence: float
    called: str
    called_share: float


def measure_nonsense(
    subject: LimitsSubject, detectors: Detectors, thresholds: dict[str, float | None], seed: int, console: Console
) -> tuple[NonsenseRow, ...]:
    """One row per kind of image: how many the shipped threshold accepts, and what they are called."""
    sets = image_sets(subject.images.test, seed, PER_SET)
    quiet = replace(subject.store, console=SILENT)
    rows = []
    with console.progress("meaningless images", sum(map(len, sets.values()))) as progress:
        for name, images in sets.items():
            rows.append(_row(name, quiet.outputs(images, name), subject, detectors, thresholds))
            progress.advance(len(images), name.replace("_", " "))
    return tuple(rows)


def _row(
    name: str, outputs: Outputs, subject: LimitsSubject, detectors: Detectors, thresholds: dict[str, float | None]
) -> NonsenseRow:
    accepted, _ = accepted_of(subject, outputs)
    called = np.bincount(outputs.predictions, minlength=len(outputs.class_names))
    most = int(called.argmax())
    return NonsenseRow(
        name=name,
        is_meaningless=name not in KEPT_MEANING,
        n=len(outputs),
        accepted=share_of(accepted),
        accepted_by_summary_score=_accepted_by(SUMMARY_SCORE, outputs, detectors, thresholds),
        confidence=float(outputs.confidences.mean()),
        called=outputs.class_names[most],
        called_share=float(called[most] / len(outputs)),
    )


def _accepted_by(
    name: str, outputs: Outputs, detectors: Detectors, thresholds: dict[str, float | None]
) -> Share | None:
    threshold = thresholds.get(name)
    if threshold is None or name not in detectors.scores:
        return None
    return share_of(np.asarray(detectors.scores[name](outputs)) <= threshold)
