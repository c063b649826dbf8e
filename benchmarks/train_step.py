"""Steps of training on a CPU beside a plain loop, and beside one that has bf16 and channels_last.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [--turns 11] [--cases 32,224]

Arms, in turns, each going on with its own network:

- plain: fp32, NCHW, `torch.optim.SGD`, images of the right size and normalised already.
- plain, bf16: the same under `torch.autocast` with channels_last and the fused optimiser.
- transferkit: the steps of `training.train` from uint8 images, with augmentation, resize, norm of the gradient, check
  for numbers that are not finite, and, from scratch, the average of weights. In fp32 too.

With `--layouts` the arms are two plain loops in fp32 with the fused optimiser: channels first and channels last.

Seconds are those of the process, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
import torchvision
from speed.machine import load as load_of_machine
from speed.machine import setting
from speed.turns import Arm, Seconds, in_turns, ratio
from torch import Tensor, nn

from transferkit.data.images import Images
from transferkit.models.backbones import load
from transferkit.recipe import BackboneSettings, from_options
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.training import parameter_groups, resolved_training
from transferkit.training.defaults import resolved
from transferkit.training.epoch import run_epoch
from transferkit.training.loop import _batches, begun
from transferkit.training.pace import Pace

NAMES = [str(label) for label in range(10)]


@dataclass(frozen=True)
class Case:
    """What is trained."""

    method: str
    backbone: str
    px: int
    batch: int
    steps: int = 2


CASES = {
    "32": Case("scratch", "resnet18-cifar", 32, 64),
    "224": Case("finetune", "resnet18", 224, 16),
    "64": Case("finetune", "resnet18", 64, 64),
    "small": Case("finetune", "resnet18", 64, 16),
    "lite0": Case("finetune", "timm/tf_efficientnet_lite0", 96, 64, steps=1),
    "mobilenet": Case("finetune", "timm/mobilenetv3_small_100", 96, 64, steps=1),
    "convnext": Case("finetune", "timm/convnext_atto", 96, 32, steps=1),
    "vgg11": Case("finetune", "vgg11", 64, 32, steps=1),
    "resnet50": Case("finetune", "resnet50", 128, 8),
    "tiny": Case("scratch", "resnet18-cifar", 8, 8),
}
OPTIONS = {  # as a plain loop has them
    "finetune": {"head": "random", "weights": "none", "optimizer": "sgd", "lr": 0.01, "head_lr": 0.1}
    | {"weight_decay": 5e-4, "clip_norm": 1.0, "layer_decay": 1.0},
    "scratch": {"ema": True, "mixup": 0.0},
}


def main() -> None:
    """Print a block for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--cases", default="32,224", help=f"of {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layouts", action="store_true", help="plain loops alone, in both memory layouts")
    arguments = parser.parse_args()
    print(f"{setting(arguments.threads)}; {load_of_machine()}")
    for name in arguments.cases.split(","):
        case = CASES[name]
        arms = layouts_of(case) if arguments.layouts else arms_of(case, arguments.threads)
        report(case, in_turns(arms, arguments.turns))


def arms_of(case: Case, threads: int) -> dict[str, Arm]:
    """By name."""
    return {
        "plain": plain_steps(case, torch.contiguous_format, is_fused=False),
        "plain, bf16": plain_steps(case, torch.channels_last, is_bf16=True),
        "transferkit, fp32": our_steps(case, machine.start("cpu", "fp32", threads)),
        "transferkit, bf16": our_steps(case, machine.start("cpu", "bf16", threads)),
    }


def layouts_of(case: Case) -> dict[str, Arm]:
    """By name."""
    layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    return {name: plain_steps(case, layout) for name, layout in layouts.items()}


def plain_steps(
    case: Case, layout: torch.memory_format, *, is_bf16: bool = False, is_fused: bool = True
) -> Callable[[], None]:
    """What one writes first, or after reading about CPUs."""
    model = network(case).train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=is_fused)
    images = torch.randn(case.batch, 3, case.px, case.px).contiguous(memory_format=layout)
    labels = torch.randint(10, (case.batch,))

    def steps() -> None:
        for _ in range(case.steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
                loss = nn.functional.cross_entropy(logits(model, images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return steps


def network(case: Case) -> nn.Module:
    """The bare network with ten logits."""
    if case.backbone in torchvision.models.list_models():
        return torchvision.models.get_model(case.backbone, weights=None, num_classes=10)
    classifier = load(BackboneSettings(name=case.backbone, weights="none"), NAMES, case.px, SILENT)
    return nn.Sequential(classifier.body, classifier.head)


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """In fp32, for the loss."""
    values: Tensor = model(images)
    return values.float()


def our_steps(case: Case, runtime: machine.Runtime) -> Callable[[], None]:
    """As `training.train` makes them."""
    count = case.batch * case.steps
    options = {"epochs": 100, "batch_size": case.batch, "size": case.px, **OPTIONS[case.method]}
    recipe = resolved(from_options(case.method, case.backbone, "cifar10", options, ()), count, case.px)
    settings = resolved_training(recipe.method)
    classifier = load(recipe.backbone, NAMES, case.px, SILENT)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, case.px, case.px), dtype=np.uint8)
    images = Images.from_pixels(pixels, np.arange(count) % 10, NAMES)
    training = begun(classifier, settings, parameter_groups(classifier, settings), runtime)
    batches = _batches(images, settings, Context(runtime, SILENT, seed=0))
    pace = Pace.of(settings.length, batches.steps_per_epoch)

    def steps() -> None:
        with SILENT.progress("training", count) as progress:
            run_epoch(training, batches.epoch(0), settings, pace, runtime, progress)

    return steps


def report(case: Case, seconds: Seconds) -> None:
    """A line for each arm."""
    print(f"\n{case.method} {case.backbone}, {case.px} px, batch {case.batch}")
    images = case.batch * case.steps
    peers = [name for name in seconds if not name.startswith("transferkit")]
    for name, taken in seconds.items():
        ratios = "; ".join(f"{ratio(seconds[other], taken)!s} of {other}" for other in peers)
        print(f"{name:18} {images / median(taken):7.1f} img/s  {ratios}")


if __name__ == "__main__":
    main()
