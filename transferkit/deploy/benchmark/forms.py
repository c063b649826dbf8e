"""The forms in which a run answers, each ready to be asked: in torch, and as a file that is removed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch

from transferkit.data.images import Pixels
from transferkit.deploy.export import library_weights
from transferkit.deploy.export.source import ExportSource
from transferkit.deploy.formats import FORMATS
from transferkit.features.fast_classifier import FastClassifier
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import Precision, Runtime, has_fast_bf16

CPU = torch.device("cpu")

Logits: TypeAlias = Callable[[Pixels], Features]  # images (N, 3, H, W) to logits (N, C)


@dataclass(frozen=True)
class Workbench:
    """What every form is made from.

    Attributes:
        source: The finished run.
        threads: That each form computes with.
        folder: For files; removed afterwards.
    """

    source: ExportSource
    threads: int
    folder: Path


@dataclass(frozen=True)
class Form:
    """A run ready to answer.

    Attributes:
        logits: Of images.
        bytes: On disk, of the model alone; of the run's own files, with the training images to compare with.
    """

    logits: Logits
    bytes: int


def menu() -> Mapping[str, Callable[[Workbench], Form]]:
    """Every form by its name; each raises a `TransferkitError` that says why it cannot be had here."""
    exported = {name: partial(from_file, name) for name, entry in FORMATS.items() if entry.is_folder}
    return {"eager": eager, "fp32": partial(in_torch, "fp32"), "bf16": fast_bf16, **exported}


def eager(bench: Workbench) -> Form:
    """The library's own class in fp32, as it comes: nothing folded, no layout chosen; images prepared as in the run.

    Raises:
        TransferkitError: If the network is not built as the library's.
    """
    network, tensors = library_weights.twin_of(bench.source)
    network.load_state_dict(tensors)
    network.eval()
    prepare = bench.source.classifier.prepare

    @torch.inference_mode()
    def logits(images: Pixels) -> Features:
        answers: Features = network(prepare(torch.from_numpy(images))).numpy()
        return answers

    return Form(logits, sum(tensor.nbytes for tensor in tensors.values()))


def in_torch(precision: Precision, bench: Workbench) -> Form:
    """As every command asks the run: folded, in one precision."""
    run = bench.source.run
    fast = FastClassifier(bench.source.classifier, Runtime(CPU, precision, bench.threads), SILENT)
    files = (run.path / "model.safetensors", run.outputs_path("bank"))
    return Form(lambda images: fast.answers_to(images)[1], sum(file.stat().st_size for file in files if file.exists()))


def fast_bf16(bench: Workbench) -> Form:
    """In bf16, where the processor has units for it.

    Raises:
        TransferkitError: If it has none.
    """
    if not has_fast_bf16(CPU):
        raise TransferkitError("this processor has no units for bf16")
    return in_torch("bf16", bench)


def from_file(name: str, bench: Workbench) -> Form:
    """An exported file, asked by the library that it is for.

    Raises:
        TransferkitError: If that library is missing, or the network does not suit the format.
    """
    module: Any = import_module(FORMATS[name].module)
    module.require()
    path = bench.folder / name / module.FILE
    path.parent.mkdir()
    module.draft(bench.source, path)
    answer = module.answers_of(path, bench.threads)
    return Form(lambda images: answer(images)[0], path.stat().st_size)
