"""A trained model for other programs: each format is a module with `write(classifier, name, path) -> str`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from transferkit.errors import TransferkitError, did_you_mean
from transferkit.prediction import load_classifier
from transferkit.run_directory import Run, open_run

FORMATS = {
    "onnx": "transferkit.exports.onnx_graph",
    "weights": "transferkit.exports.library_weights",
    "mask-rcnn": "transferkit.exports.mask_rcnn",
}


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
    return written(run, to, out, overwrite=overwrite)[0]


def written(run: Run | Path | str, to: str, out: Path | str | None, *, overwrite: bool) -> tuple[Path, str]:
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
    return path, write(classifier, place.recipe.backbone.name, path)


def _module(to: str) -> ModuleType:
    if to not in FORMATS:
        raise TransferkitError(f"Unknown format {to!r}. {did_you_mean(to, FORMATS)}")
    return import_module(FORMATS[to])


def require_suffix(path: Path, suffix: str, to: str) -> None:
    """Refuse a file whose name says that it holds something else.

    Raises:
        TransferkitError: Names the suffix that fits.
    """
    if path.suffix != suffix:
        raise TransferkitError(f"{path} does not end in {suffix}, which is what --to {to} writes.")
