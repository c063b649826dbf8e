"""Small pictures as data URIs, within a budget of bytes, so that the page stays one light file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

BUDGET_BYTES = 3_000_000  # of base64 text; leaves room for numbers in a page below 5 MB
DARKEST = 0.12  # brightness left where a map is 0
LOSSLESS_UP_TO_PX = 16  # tiny pictures lose their edges in lossy formats, and cost little without


def data_uris(thumbnails: Mapping[int, npt.NDArray[np.uint8]], budget_bytes: int = BUDGET_BYTES) -> dict[int, str]:
    """The pictures as data URIs by their position in the test outputs, first ones first until the budget is spent."""
    uris: dict[int, str] = {}
    spent = 0
    for index, picture in thumbnails.items():
        uri = data_uri(picture)
        spent += len(uri)
        if spent > budget_bytes:
            break
        uris[index] = uri
    return uris


def spotlit(picture: npt.NDArray[np.uint8], places: npt.NDArray[np.uint8], crop: float = 1.0) -> npt.NDArray[np.uint8]:
    """A picture (3, h, w) darkened where a map (h', w') of the same scene is low, and where the network saw nothing.

    Args:
        picture: RGB.
        places: 255 where the picture keeps its brightness.
        crop: Share of the sides around the centre that the map covers.
    """
    from PIL import Image

    height, width = picture.shape[1:]
    visible_px = (max(1, round(width * crop)), max(1, round(height * crop)))
    light = Image.new("L", (width, height))
    light.paste(
        Image.fromarray(places).resize(visible_px, Image.Resampling.BILINEAR),
        ((width - visible_px[0]) // 2, (height - visible_px[1]) // 2),
    )
    strength = DARKEST + (1 - DARKEST) * np.asarray(light, np.float32) / 255
    lit: npt.NDArray[np.uint8] = np.round(picture * strength).astype(np.uint8)
    return lit


def data_uri(picture: npt.NDArray[np.uint8]) -> str:
    """A picture (3, h, w) as a data URI."""
    from PIL import Image, features

    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))  # (h, w, 3)
    if not features.check("webp"):  # Pillow built from source without it
        kind = "png"
        image.save(file, "PNG", optimize=True)
    else:
        kind = "webp"
        image.save(file, "WEBP", quality=78, lossless=max(image.size) <= LOSSLESS_UP_TO_PX)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
