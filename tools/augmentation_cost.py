"""What each augmentation costs on a CPU, as a share of a training step of ResNet-18; prints a Markdown table."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from transferkit.data.augmentation import AUGMENTATIONS, BatchDraws, function_of
from transferkit.models import backbones
from transferkit.recipe import BackboneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT

REPEATS = 7


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Median and range of the processor time, which other programs change little; the first is left out."""
    times = []
    for _ in range(REPEATS + 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return statistics.median(times[1:]), max(times[1:]) - min(times[1:])


def training_step(images: torch.Tensor, runtime: machine.Runtime) -> Callable[[], None]:
    """Forward, backward and SGD on one batch."""
    settings = BackboneSettings(name="resnet18", weights="none", stem="imagenet")
    classifier = backbones.load(settings, [str(label) for label in range(10)], images.shape[-1], SILENT).train()
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        with runtime.autocast():
            loss = classifier(images).float().logsumexp(1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--px", type=int, default=64)
    wanted = parser.parse_args()
    runtime = machine.start("cpu", wanted.precision, 1)
    images = torch.randint(0, 256, (wanted.batch, 3, wanted.px, wanted.px), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)  # as shift and mirroring leave them
    step, spread = seconds(training_step(images, runtime))
    print(f"a step: {1000 * step:.0f} ms (range {1000 * spread:.0f}), {runtime.precision}\n")
    print("| augmentation | ms | share of a step, % |\n|---|---|---|")
    for name, entry in AUGMENTATIONS.items():
        change, draws = function_of(name), BatchDraws(0, 0, 0, wanted.batch, images.device)
        cost, spread = seconds(lambda change=change, entry=entry, draws=draws: change(images, entry.usual, draws))  # type: ignore[misc]
        print(f"| {name} | {1000 * cost:.1f} (range {1000 * spread:.1f}) | {100 * cost / step:.1f} |")


if __name__ == "__main__":
    main()
