"""What a run costs: operations, gradient steps, the speed of prediction, the peak of memory."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import torch

from transferkit.data.batches import to_device
from transferkit.data.images import Images, Splits
from transferkit.features.fast_classifier import FastClassifier
from transferkit.features.layer_network import synchronise
from transferkit.models.classifier import Classifier
from transferkit.models.receptive_fields import total_flops
from transferkit.recipe import Recipe
from transferkit.runs.facts import RunCosts
from transferkit.runtime.console import SILENT
from transferkit.runtime.machine import Runtime
from transferkit.training.growth import cost_share
from transferkit.training.methods.fitted import Fitted

BATCH = 64  # of the timed prediction
TIMED_IMAGES = 512
TIMED_SECONDS = 2.0  # at most, so that a large network does not wait for the number


def costs(
    recipe: Recipe, classifier: Classifier, splits: Splits, fitted: Fitted, runtime: Runtime, peak: int | None
) -> RunCosts:
    """What a run cost.

    Operations are two per multiply-add of convolutions, linear layers and attention, without the head; a training step
    counts as three forward passes, whatever is frozen; a probe and the head that fine-tuning starts from count as one
    forward pass over train and val, whether or not it came from the store.
    """
    forward = total_flops(classifier.body.eval(), recipe.input_px)
    steps = fitted.history.steps
    images = steps * _batch(recipe, len(splits.train))
    looked_at = len(splits.train) + len(splits.val) if fitted.probe else 0
    return RunCosts(
        flops_per_image=forward,
        steps=steps,
        images_trained_on=images,
        training_flops=forward * (3 * images * _growth(recipe) + looked_at),
        predicted_images_per_second=prediction_rate(classifier, splits.train, runtime),
        peak_memory_bytes=peak,
    )


def _growth(recipe: Recipe) -> float:
    """What a step cost on average, as a share of one at the last size."""
    training = recipe.method.training
    return 1.0 if training is None else cost_share(training.start_size or 0, recipe.input_px, training.epochs)


def _batch(recipe: Recipe, num_images: int) -> int:
    training = recipe.method.training
    return 0 if training is None else min(training.step_images or num_images, num_images)


def prediction_rate(classifier: Classifier, images: Images, runtime: Runtime) -> float:
    """Images per second as `predict` asks the network, in batches of 64 from pixels in memory, after one to warm up.

    Training images are shown, so that the test set stays closed; their number does not change what one costs.
    """
    fast = FastClassifier(classifier, runtime, SILENT)
    batches = [to_device(chunk, runtime.device) for chunk in _chunks(images)]
    fast(batches[0])
    synchronise(runtime.device)
    started, done = time.perf_counter(), 0
    while done < TIMED_IMAGES and time.perf_counter() - started < TIMED_SECONDS:
        batch = batches[done // BATCH % len(batches)]
        fast(batch)
        done += len(batch)
        synchronise(runtime.device)
    return done / (time.perf_counter() - started)


def _chunks(images: Images) -> list[Any]:
    chunks = images.subset(range(min(len(images), TIMED_IMAGES))).chunks(BATCH)
    return list(chunks)


# ------------------------------------------------------------------------------------------------------ memory


def forget_peak(runtime: Runtime) -> None:
    """Begin to measure the peak of memory anew, where the system can."""
    if runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(runtime.device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size


def peak_bytes(runtime: Runtime) -> int | None:
    """The most memory held since `forget_peak`: of the GPU by tensors, else of this process by everything in it.

    None where the system does not tell. Where it cannot begin anew, the peak is that of the whole process so far.
    """
    if runtime.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(runtime.device))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    with contextlib.suppress(ImportError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, else kilobytes
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
