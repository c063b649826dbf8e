"""A trained model for other programs: each format of `deploy.formats` is a module with `write(...) -> how to use it`.

It also has `FILE`, the default name, and `require()`, which refuses to begin where a library is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from transferkit.deploy.formats import FORMATS
from transferkit.features.fast_classifier import FastClassifier
from transferkit.models.classifier import Classifier
from transferkit.runs.run_directory import Run, open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.machine import Precision, Runtime

NOISE = (16, 3, 64, 64)  # (N, 3, H, W) of the images by which two precisions are compared


def export(run: Run | Path | str, to: str = "onnx", out: Path | str | None = None, *, overwrite: bool = False) -> Path:
    """Write the model of a finished run for other programs; `transferkit export RUN --to FORMAT` in Python.

    Args:
        run: A finished run, or its folder.
        to: `onnx`: images to logits, preparation included. `weights`: a state dict for torchvision's or timm's own
            class. `mask-rcnn`: a state dict of torchvision's Mask R-CNN, its backbone tuned and its heads random.
        out: The file; default RUN/export/model.onnx, weights.safetensors or mask-rcnn.safetensors.
        overwrite: Replace that file.

    Returns:
        The file, which was read again and compared with the model.

    Raises:
        TransferkitError: If there is no such format or run, the file exists, or the network does not suit the format.
        MachineError: If what was written does not answer as the model does.
    """
    return write_export(run, to, out, overwrite=overwrite)[0]


def write_export(run: Run | Path | str, to: str, out: Path | str | None, *, overwrite: bool) -> tuple[Path, str]:
    """The file that was written, and how to use it."""
    module = _module(to)
    module.require()
    place = open_run(run)
    path = Path(out) if out is not None else place.path / "export" / module.FILE
    require_suffix(path, Path(module.FILE).suffix, to)
    if path.exists() and not overwrite:
        raise TransferkitError(f"{path} exists. Choose another file with --out, or replace it with --overwrite.")
    write: Callable[..., str] = module.write
    classifier = load_classifier(place).eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    usage = write(classifier, place.recipe.backbone.name, path)
    return path, "\n".join([usage, *precision_words(classifier, place.precision)])


def precision_words(classifier: Classifier, precision: Precision) -> list[str]:
    """What a reader must know of the file's arithmetic where the run answers in bf16: files compute in fp32."""
    if precision == "fp32":
        return []
    images = torch.randint(0, 256, NOISE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    exact, rounded = (
        FastClassifier(classifier, Runtime(torch.device("cpu"), arithmetic, 1), SILENT)(images)[1]
        for arithmetic in ("fp32", precision)
    )
    difference = float((exact - rounded).abs().max() / exact.abs().max())
    return [
        f"# The run answers in {precision}, in which its thresholds were made; this file computes in fp32. On "
        f"{len(images)} images of noise their logits differ by up to {100 * difference:.2g} % of the largest."
    ]


def _module(to: str) -> ModuleType:
    if to not in FORMATS:
        raise TransferkitError(f"Unknown format {to!r}. {did_you_mean(to, FORMATS)}")
    return import_module(FORMATS[to].module)


def require_suffix(path: Path, suffix: str, to: str) -> None:
    """Refuse a file whose name says that it holds something else.

    Raises:
        TransferkitError: Names the suffix that fits.
    """
    if path.suffix != suffix:
        raise TransferkitError(f"{path} does not end in {suffix}, which is what --to {to} writes.")
