"""A trained model for other programs: each format of `deploy.formats` is a module with `write(source, path)`.

It also has `FILE`, the default name, `require()`, which refuses to begin where a library is missing, and
`usage(source, path)`, the lines of Python that use the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from transferkit.deploy.export import bundle
from transferkit.deploy.export.source import ExportSource, source_of
from transferkit.deploy.export.target import Target, claim, publish, target_of
from transferkit.deploy.formats import FORMATS
from transferkit.features.fast_classifier import FastClassifier
from transferkit.models.classifier import Classifier
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError, did_you_mean
from transferkit.runtime.machine import Precision, Runtime
from transferkit.runtime.plurals import counted

NOISE = (16, 64, 64)  # (N, H, W) of the images by which two precisions are compared


def export(
    run: Run | Path | str,
    to: str = "onnx",
    out: Path | str | None = None,
    *,
    overwrite: bool = False,
    allow_loss: bool = False,
) -> Path:
    """Write the model of a finished run for other programs; `transferkit export RUN --to FORMAT` in Python.

    Args:
        run: A finished run, or its folder.
        to: `onnx`: images to answers, preparation included. `onnx-int8`: the same in whole numbers of 8 bits.
            `torch-export`: a program that torch alone runs. `weights`: a state dict for torchvision's or timm's own
            class. `mask-rcnn`: a state dict of torchvision's Mask R-CNN, its backbone tuned and its heads random.
        out: A file, as in `model.onnx`; or, for the first three, a folder that gets the model and what a machine
            without transferkit needs. Default: RUN/export/onnx and alike, RUN/export/weights.safetensors.
        overwrite: Replace that file, or what an earlier export left in that folder.
        allow_loss: Keep 8 bits where they may cost more than one point of accuracy.

    Returns:
        The model's file, which was read again and compared with the model.

    Raises:
        TransferkitError: If there is no such format or run, the file exists, the network does not suit the format, or
            8 bits cost too much.
        MachineError: If what was written does not answer as the model does.
    """
    return write_export(run, to, out, overwrite=overwrite, allow_loss=allow_loss)[0]


def write_export(
    run: Run | Path | str,
    to: str,
    out: Path | str | None,
    *,
    overwrite: bool,
    allow_loss: bool = False,
    console: Console = SILENT,
) -> tuple[Path, str]:
    """The model's file that was written, and how to use it; it is complete and checked before anything is replaced."""
    module = _module(to)
    module.require()
    place = open_run(run)
    target = target_of(place.path, to, None if out is None else Path(out), module.FILE)
    with claim(target, overwrite=overwrite), tempfile.TemporaryDirectory(prefix="transferkit-export-") as workshop:
        source = source_of(place, allow_loss=allow_loss, console=console)
        notes = _write(module, source, target, Path(workshop), to)
        publish(Path(workshop), target)
    lines = [module.usage(source, target.file), *(f"# {note}" for note in notes)]
    return target.file, "\n".join([*lines, *precision_words(source.classifier, place.precision)])


def _write(module: ModuleType, source: ExportSource, target: Target, workshop: Path, to: str) -> tuple[str, ...]:
    """All files of an export, in a folder that nobody sees yet; what a user must know of them."""
    write: Callable[[ExportSource, Path], tuple[str, ...]] = module.write
    notes = write(source, workshop / target.file.name)
    if target.is_folder:
        bundle.write(source, workshop, bundle.Program(to, module.FILE, module.NEEDS), notes)
    return notes


def precision_words(classifier: Classifier, precision: Precision) -> list[str]:
    """What a reader must know of the file's arithmetic where the run answers in bf16: files compute in fp32."""
    if precision == "fp32":
        return []
    images = torch.randint(
        0,
        256,
        (NOISE[0], len(classifier.input_spec.mean), *NOISE[1:]),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    exact, rounded = (
        FastClassifier(classifier, Runtime(torch.device("cpu"), arithmetic, 1), SILENT)(images)[1]
        for arithmetic in ("fp32", precision)
    )
    difference = float((exact - rounded).abs().max() / exact.abs().max())
    return [
        f"# The run answers in {precision}, in which its thresholds were made; this file computes in fp32. On "
        f"{counted(len(images), 'image')} of noise their logits differ by up to {100 * difference:.2g} "
        "% of the largest."
    ]


def _module(to: str) -> ModuleType:
    if to not in FORMATS:
        raise TransferkitError(f"Unknown format {to!r}. {did_you_mean(to, FORMATS)}")
    return import_module(FORMATS[to].module)
