"""The menu of export formats, known without importing torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """What `export --to` can write.

    Attributes:
        module: Dotted name of the module that writes it, see `deploy.export`.
        about: What is in the file.
        is_folder: Whether it is written as a folder with all that a machine without transferkit needs, unless --out
            names a file.
    """

    module: str
    about: str
    is_folder: bool = False


FORMATS: dict[str, Format] = {
    "onnx": Format("transferkit.deploy.export.onnx_graph", "images to answers, preparation included", is_folder=True),
    "onnx-int8": Format(
        "transferkit.deploy.export.onnx_int8",
        "the same in whole numbers of 8 bits, calibrated on training images, its loss measured on val",
        is_folder=True,
    ),
    "torch-export": Format(
        "transferkit.deploy.export.torch_program", "the same as a program that torch alone runs", is_folder=True
    ),
    "weights": Format(
        "transferkit.deploy.export.library_weights", "a state dict for torchvision's or timm's own class"
    ),
    "mask-rcnn": Format(
        "transferkit.deploy.export.mask_rcnn", "torchvision's Mask R-CNN with this backbone, its heads random"
    ),
}


IN_TORCH = {  # forms that `benchmark` measures beside the exported ones
    "eager": "torchvision's or timm's own class, fp32, as anyone would run it",
    "fp32": "as every command runs it in fp32",
    "bf16": "as every command runs it in bf16",
}


def measured_forms() -> tuple[str, ...]:
    """What `benchmark` can measure: the forms in torch, and the formats that answer by themselves."""
    return (*IN_TORCH, *(name for name, entry in FORMATS.items() if entry.is_folder))


def in_words() -> str:
    """Every format with what is in the file, for `--help`."""
    return "; ".join(f"{name}: {entry.about}" for name, entry in FORMATS.items()) + "."
