"""The whole classifier as a program of torch.export: torch loads and runs it, without the code that made it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit.data.images import Pixels
from transferkit.deploy.export.answering import (
    Answering,
    answer_lines,
    answering_of,
    dynamic_shapes,
    require_equal,
    traced,
)
from transferkit.deploy.export.source import ExportSource
from transferkit.runtime.files import write_atomically

FILE = "model.pt2"
NEEDS = ("torch",)  # where the file runs


def require() -> None:
    """Nothing besides the core packages is needed."""


def write(source: ExportSource, path: Path) -> tuple[str, ...]:
    """Write the program, load it again, and run it beside the classifier on random images of several sizes.

    It takes uint8 images (N, 3, H, W), RGB, and gives `answering.OUTPUTS`. Class names are in its extra files.

    Returns:
        Nothing that a user must know besides.

    Raises:
        TransferkitError: If the network cannot be traced.
        MachineError: If the program answers otherwise than the classifier.
    """
    draft(source, path)
    require_equal(answering_of(source), answers_of(path), "torch program")
    return ()


def draft(source: ExportSource, path: Path) -> None:
    """Write the program, and do not ask it.

    Raises:
        TransferkitError: If the network cannot be traced.
    """
    program = traced(source, "a torch program", _traced)
    extra = {"class_names.json": json.dumps(source.class_names, ensure_ascii=False)}
    write_atomically(path, lambda temporary: _save(program, temporary, extra))


def usage(source: ExportSource, path: Path) -> str:
    """How to use the file."""
    model = f"import torch\nmodel = torch.export.load({str(path)!r}).module()"
    return f"{model}\n{answer_lines(source, 'model(images)')}"


def _traced(model: Answering, images: tuple[Tensor]) -> Any:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, images, dynamic_shapes=dynamic_shapes(), strict=False)


def answers_of(path: Path, threads: int = 0) -> Callable[[Pixels], Sequence[Any]]:  # noqa: ARG001 - one signature
    """The file as a function of images (N, 3, H, W), on as many threads as torch has in this process."""
    model = torch.export.load(path).module()

    @torch.inference_mode()
    def answer(images: Pixels) -> Sequence[Any]:
        return [output.numpy() for output in model(torch.from_numpy(images))]

    return answer


def _save(program: Any, path: Path, extra: dict[str, str]) -> None:
    with path.open("wb") as file:  # a path without the suffix .pt2 is refused
        torch.export.save(program, file, extra_files=extra)
