"""Lines of Python that use trained weights in torchvision's or timm's own class, without transferkit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from transferkit.data.reading import DEEPEST
from transferkit.deploy.export.source import ExportSource
from transferkit.models.backbones import TIMM, card
from transferkit.runtime.errors import TransferkitError


def library(name: str) -> str:
    """torchvision or timm.

    Raises:
        TransferkitError: If the network is in neither.
    """
    source = card(name).source
    if source not in ("torchvision", "timm"):
        raise TransferkitError(f"{name} is in no other library, so there is no class to load it. Use --to onnx.")
    return source


def constructor(name: str, num_classes: int, size: int) -> str:
    """The expression that builds the library's network."""
    if library(name) == "timm":
        px = fixed_px(name, size)
        option = f", img_size={px}" if px else ""
        return f"timm.create_model({name.removeprefix(TIMM)!r}, num_classes={num_classes}{option})"
    return f"torchvision.models.{name}(num_classes={num_classes})"


def fixed_px(name: str, size: int) -> int | None:
    """The size in px, of a network of timm that is built for images of one size alone; None of others."""
    from transferkit.models.backbones.timm_models import pretrained

    return size if pretrained(name.removeprefix(TIMM)).fixed_size else None


def python_lines(source: ExportSource, file_line: str, imports: Sequence[str] = ()) -> str:
    """A program that ends with `answer` and `probability` of photo.jpg.

    Args:
        source: Of a network that torchvision or timm has.
        file_line: Sets `file`, the path of the weights.
        imports: That it needs for that.
    """
    names = source.class_names
    return "\n".join(
        [
            "import numpy as np",
            f"import {library(source.name)}",
            "import torch",
            *imports,
            "from PIL import Image, ImageOps",
            "from safetensors.torch import load_file",
            "",
            file_line,
            f"class_names = {json.dumps(names, ensure_ascii=False)}",
            f"network = {constructor(source.name, len(names), source.classifier.input_spec.size)}",
            "network.load_state_dict(load_file(file), strict=True)",
            "network.eval()",
            "",
            *_reading(source),
            *_preparing(source),
            "with torch.inference_mode():",
            f"    logits = {_asked(source)}",
            "probabilities = logits.softmax(1)[0]",
            "answer, probability = class_names[int(probabilities.argmax())], float(probabilities.max())",
            "print(answer, probability)",
        ]
    )


def caveats(source: ExportSource) -> tuple[str, ...]:
    """Where these lines answer a little otherwise than the run."""
    reading, lines = source.reading, []
    if source.classifier.averages_shifts:
        lines.append(
            "The run averages its answers over an image and small shifts of it; the lines below do not, so their "
            "accuracy may differ from the one above."
        )
    if (reading.black, reading.white) != (0, DEEPEST):
        lines.append(
            f"The run reads files deeper than 8 bits from {reading.black:g} (black) to {reading.white:g} (white); the "
            "lines below leave that to Pillow."
        )
    return tuple(lines)


def _reading(source: ExportSource) -> Iterator[str]:
    """The file as a square of pixels, as the run read its own."""
    side, resampling = source.storage_px, "Image.Resampling.BILINEAR"
    yield 'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")'
    if source.reading.fit == "crop":
        yield f"image = ImageOps.fit(image, ({side}, {side}), {resampling})  # the largest square in its middle"
    else:
        yield f"image = image.resize(({side}, {side}), {resampling})"
    yield "pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)"


def _preparing(source: ExportSource) -> Iterator[str]:
    """The pixels as the network takes them: cropped, resized, normalised."""
    spec, side = source.classifier.input_spec, source.storage_px
    if spec.crop < 1.0:
        inner = max(1, round(side * spec.crop))
        start = (side - inner) // 2
        part = f"{start} : {start + inner}"
        yield f"pixels = pixels[..., {part}, {part}]  # the middle {100 * spec.crop:g} % of both sides"
    yield (
        f"pixels = torch.nn.functional.interpolate(pixels, ({spec.size}, {spec.size}), "
        f"mode={spec.interpolation!r}, antialias=True)"
    )
    mean, std = (json.dumps(list(numbers)) for numbers in (spec.mean, spec.std))
    yield f"mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in ({mean}, {std}))"
    yield "pixels = (pixels - mean) / std"


def _asked(source: ExportSource) -> str:
    if source.classifier.averages_mirror:
        return "(network(pixels) + network(pixels.flip(-1))) / 2  # the mean over the image and its mirror image"
    return "network(pixels)"
