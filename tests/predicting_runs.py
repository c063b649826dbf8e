"""Finished runs that can be asked about images: random weights, with thresholds from images of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from synthetic_runs import finished_run

from transferkit.data.images import Images
from transferkit.features.fast_classifier import collect
from transferkit.models import backbones
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings
from transferkit.run import save_model
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT

NAMES = ("cat", "dog", "ship")


def predicting_run(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """The folder of such a run."""
    finished = finished_run(folder)
    settings, runtime = BackboneSettings(name="resnet20", weights="none"), machine.start("cpu", "fp32")
    torch.manual_seed(0)
    classifier = backbones.load(settings, names, 8, SILENT)
    torch.nn.init.normal_(classifier.head.weight)  # type: ignore[arg-type]
    noise = np.random.default_rng(1).integers(0, 256, (80, 3, 8, 8), dtype=np.uint8)
    bank, val = (
        collect(
            classifier, Images.from_pixels(part, np.zeros(40, np.int64), classifier.class_names), runtime, SILENT, ""
        )
        for part in (noise[:40], noise[40:])
    )
    recipe = finished.recipe.model_copy(update={"backbone": settings})
    finished.write_recipe(recipe)
    save_model(finished, classifier, recipe, runtime, rejection.fit(val, bank))
    finished.save_outputs({"bank": bank})
    return finished.path
