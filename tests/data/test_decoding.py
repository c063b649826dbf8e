"""Every kind of file becomes the same kind of pixels."""

from __future__ import annotations

import ast
import base64
import io
import os
import socket
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.data.decoding import decode, decode_many, short_side
from transferkit.data.image_files import formats
from transferkit.data.images import image_digest
from transferkit.runtime.errors import TransferkitError


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


def test_an_uncompressed_ycbcr_tiff_is_read_where_pillow_takes_it_for_rgb(tmp_path: Path) -> None:
    """Pillow before 13 says of such a file that it is RGB with a fourth byte, and then finds it truncated."""
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(colours).convert("YCbCr")
    opened = Image.open(saved(tmp_path / "a.tif", image))
    opened._mode = "RGB"
    opened.tile = [(*tile[:3], ("RGBX", 0, 1)) for tile in opened.tile]

    decoded = decode(opened, 8, "squash")

    assert np.array_equal(decoded, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


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

    with pytest.raises(
        TransferkitError, match=r"pixels that are no whole numbers; save it with 8 or 16 bits .* data.range=\[0,1\]"
    ):
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
        (b"Dear diary", r"a\.jpg: not an image, or damaged, or of another kind than JPEG, PNG"),
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


# ------------------------------------------------------------------------------------------ what came from a stranger

EPS_THAT_WRITES_A_FILE = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(PATH) (w) file (owned) writestring\n"
RED_HEIC = zlib.decompress(  # 16 x 16 px of (200, 40, 40), written by pillow-heif 1.8.1
    base64.b64decode(
        "eNpjYGCQSSupLMhIzUxmAILczDRDEDs3MzGNgYGxJje1JJEBAhQzUnKKoGyGgszkEgY0oJSZkw82xMWBgREIgYBxAYQGAiMgVs7MzEsD80Ciok"
        "BOKhOUl1GWbAhi8hVkluTClfzJLCgqANJ3MguS84F0KVCZMyMzSGgCWJHcB4Y/f3/8YGDgZ04A6pBwYORh/P8fpIAZpIIZhOR2MTkkAiU1nRgZ"
        "0WQWKDSyTnu1btazB4oLDjQwMPA0gIRbkoCq2VwYDxYf7ATaIZycn1OUl5xTARTlZWADKmEQySwuSIV6zAGKNZJzEkEOE4C6HUz/////ApBmgt"
        "Eg8YLMikyQRmYODg4gJZFZkAsLY2CwsTYyMbO2ANlWuSmJoDDW02BcL6yYlOzwVV3p/3/nrPpXNup/W28mphftOhj96deBbymzD3xeNXFeQ3vm"
        "cgPRCgDazGas"
    )
)


def test_a_postscript_file_named_jpg_is_refused_and_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_text(EPS_THAT_WRITES_A_FILE.replace("PATH", str(tmp_path / "owned")))

    with pytest.raises(TransferkitError, match=r"photo.jpg: a PostScript program, not an image; save it as PNG"):
        decode(path, 8, "squash")

    assert not (tmp_path / "owned").exists()


def test_no_format_that_starts_a_program_is_opened() -> None:
    """Of the readers in Pillow 13 these run Ghostscript (EPS), or draw what a file describes (WMF)."""
    assert not {"EPS", "WMF", "FPX", "MIC"} & set(formats())
    assert {"JPEG", "PNG", "GIF", "TIFF", "BMP", "PPM", "WEBP"} <= set(formats())


def test_the_package_opens_images_of_listed_formats_alone() -> None:
    calls = [
        node
        for path in sorted((Path(__file__).parents[2] / "transferkit").rglob("*.py"))
        if "Image" in (text := path.read_text(encoding="utf-8")) and ".open(" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open")
    ]

    assert len(calls) >= 2
    assert [ast.unparse(call) for call in calls if "formats" not in {word.arg for word in call.keywords}] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo(tmp_path / "fifo.jpg")
    server = socket.socket(socket.AF_UNIX)
    server.bind("s.jpg")

    failures = decode_many([tmp_path / "fifo.jpg", tmp_path / "s.jpg", "/dev/zero", tmp_path], 8, "squash").failures

    assert [reason for _, reason in failures] == [
        "it is a FIFO (a named pipe), not a file",
        "it is a socket, not a file",
        "it is a device, not a file",
        "it is a folder; name the files in it",
    ]
    assert short_side(tmp_path / "fifo.jpg") is None
    server.close()


@pytest.fixture
def fresh_formats() -> Iterator[None]:
    formats.cache_clear()
    yield
    formats.cache_clear()


@pytest.mark.usefixtures("fresh_formats")
def test_a_heic_photograph_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # importing it fails
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    (tmp_path / "IMG_1.HEIC").write_bytes(RED_HEIC)

    with pytest.raises(TransferkitError, match=r"IMG_1.HEIC: a HEIC photograph, .* type: pip install pillow-heif"):
        decode(tmp_path / "IMG_1.HEIC", 8, "squash")


@pytest.mark.usefixtures("fresh_formats")
def test_a_heic_photograph_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    (tmp_path / "IMG_1.HEIC").write_bytes(RED_HEIC)

    pixels = decode(tmp_path / "IMG_1.HEIC", 8, "squash")

    assert np.abs(pixels.astype(int) - np.array([200, 40, 40])[:, None, None]).max() <= 3  # it is a lossy format


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown fit 'stretch'. Expected squash or crop"):
        decode(halves(), 8, "stretch")


def test_many_files_give_pixels_digests_and_the_failures(tmp_path: Path) -> None:
    good = saved(tmp_path / "a.png", halves())
    (tmp_path / "b.png").touch()

    files = decode_many([good, tmp_path / "b.png", good], 8, "squash")

    assert files.failures == [(1, "the file is empty (0 bytes)")]
    assert files.digests[0].tobytes() == files.digests[2].tobytes() == image_digest(decode(good, 8, "squash"))
    assert not files.pixels[1].any()
    assert not files.digests[1].any()


def test_the_short_side_comes_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "b.png").touch()

    assert short_side(saved(tmp_path / "a.png", halves(20, 10))) == 10
    assert short_side(tmp_path / "b.png") is None
