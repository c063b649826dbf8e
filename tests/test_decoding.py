"""Every kind of file becomes the same kind of pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.decoding import decode, decode_many, short_side
from transferkit.errors import TransferkitError
from transferkit.images import image_digest


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def halves(width: int = 8, height: int = 8) -> Image.Image:
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def corner_mark() -> Image.Image:
    """Black, 16 x 8, with a white quarter at the upper left."""
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:4, :8] = 255
    return Image.fromarray(pixels).convert("RGB")


def test_an_image_of_the_right_size_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)

    decoded = decode(saved(tmp_path / "a.png", Image.fromarray(pixels)), 8, "squash")

    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels.transpose(2, 0, 1))


def test_paths_strings_open_files_and_pillow_images_give_the_same_pixels(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", halves(20, 10))
    expected = decode(path, 8, "squash")

    assert np.array_equal(decode(str(path), 8, "squash"), expected)
    assert np.array_equal(decode(io.BytesIO(path.read_bytes()), 8, "squash"), expected)
    assert np.array_equal(decode(halves(20, 10), 8, "squash"), expected)


def test_squash_keeps_the_whole_rectangle_and_crop_its_middle() -> None:
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = 255
    image = Image.fromarray(pixels)

    assert (decode(image, 4, "crop") == 255).all()
    assert 0.2 < decode(image, 4, "squash").mean() / 255 < 0.45  # a third is white


def test_resizing_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255

    decoded = decode(Image.fromarray(stripes), 8, "squash")

    assert abs(decoded.astype(int) - 128).max() <= 4  # every other column is white: grey, not one of the two


def test_a_jpeg_decoded_at_a_fraction_looks_like_one_decoded_in_full(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
    path = saved(tmp_path / "a.jpg", photo, quality=95)
    in_full = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)

    difference = np.abs(decode(path, 64, "squash").astype(int) - np.asarray(in_full).transpose(2, 0, 1))

    assert difference.mean() < 1.5


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA"])
def test_every_colour_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.new("RGB", (8, 8), "white").convert(mode))

    assert decode(path, 8, "squash").shape == (3, 8, 8)
    assert (decode(path, 8, "squash") >= 254).all()


def test_cmyk_jpegs_as_adobe_writes_them_are_not_inverted(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK"))
    assert Image.open(path).mode == "CMYK"

    red, green, blue = decode(path, 8, "squash").reshape(3, -1).mean(axis=1)

    assert red > 230
    assert green < 30
    assert blue < 30


def test_transparent_parts_lie_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 4, 8))

    decoded = decode(saved(tmp_path / "a.png", image), 8, "squash")

    assert decoded[:, 0, 7].tolist() == [255, 255, 255]
    assert decoded[:, 0, 0].tolist() == [0, 0, 255]


def test_a_transparent_palette_colour_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])

    decoded = decode(saved(tmp_path / "a.png", image, transparency=1), 8, "squash")

    assert (decoded == 255).all()


def test_a_grey_image_with_a_transparent_value_lies_on_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (8, 8), 10), transparency=10)

    assert (decode(path, 8, "squash") == 255).all()


@pytest.mark.parametrize(
    ("orientation", "corner"),
    list(enumerate(2 * ["upper left", "upper right", "lower right", "lower left"], start=1)),
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_orientation_is_applied(orientation: int, corner: str, name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / name, corner_mark(), exif=exif)

    grey = decode(path, 8, "squash").mean(axis=0)

    quarters = {"upper left": grey[:4, :4], "upper right": grey[:4, 4:]}
    quarters |= {"lower left": grey[4:, :4], "lower right": grey[4:, 4:]}
    assert max(quarters, key=lambda name: quarters[name].mean()) == corner


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)

    for name in ("a.png", "a.tif"):
        decoded = decode(saved(tmp_path / name, Image.fromarray(values)), 4, "squash")
        assert decoded[:, 0].tolist() == [[0, 1, 128, 255]] * 3


def test_floating_point_pixels_are_refused_with_advice(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((4, 4), np.float32)))

    with pytest.raises(TransferkitError, match=r"pixels of mode F beyond 16 bits; save it with 8 or 16 bits"):
        decode(path, 4, "squash")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_of_an_animation_the_first_frame_counts(name: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])

    assert (decode(path, 8, "squash") >= 250).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.jpg: the file is empty \(0 bytes\)"),
        (b"Dear diary", r"a\.jpg: not an image, or of a kind that Pillow does not know"),
        (None, r"a\.jpg: there is no such file"),
    ],
    ids=["empty", "text", "missing"],
)
def test_an_unreadable_file_is_named_with_the_reason(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)

    with pytest.raises(TransferkitError, match=message):
        decode(tmp_path / "a.jpg", 8, "squash")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.tif", "a.bmp"])
def test_a_truncated_file_of_any_format_is_unreadable(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(TransferkitError, match=rf"Cannot read .*{name}: (truncated|damaged|not an image)"):
        decode(path, 64, "squash")


def test_a_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_999)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TransferkitError, match=r"more than 9,999 pixels, as in a decompression bomb"):
            decode(path, 8, "squash")


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown fit 'stretch'. Expected squash or crop"):
        decode(halves(), 8, "stretch")


def test_many_files_give_pixels_digests_and_the_failures(tmp_path: Path) -> None:
    good = saved(tmp_path / "a.png", halves())
    (tmp_path / "b.png").touch()

    pixels, digests, failures = decode_many([good, tmp_path / "b.png", good], 8, "squash")

    assert failures == [(1, "the file is empty (0 bytes)")]
    assert digests[0].tobytes() == digests[2].tobytes() == image_digest(decode(good, 8, "squash"))
    assert not pixels[1].any()
    assert not digests[1].any()


def test_the_short_side_comes_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "b.png").touch()

    assert short_side(saved(tmp_path / "a.png", halves(20, 10))) == 10
    assert short_side(tmp_path / "b.png") is None
