"""Training throughput of ResNet-18 beside the plain PyTorch default, in one run.

python benchmarks/training_throughput.py --size 224

The peer is what a first script does: fp32, NCHW, unfused SGD, images already resized and normalised in memory (so no
decoding is charged to it). Ours is `training.train`: uint8 images, augmentation, resize and normalisation on the
device, precision and memory layout as `runtime` chooses. Both take turns; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
import torchvision

from transferkit.data.images import Images
from transferkit.models.backbones import load
from transferkit.recipe import from_options
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.training import parameter_groups, resolved_training, train
from transferkit.training.defaults import resolved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    runtime = machine.start(arguments.device)
    plain, ours = [], []
    for repeat in range(arguments.repeats + 1):
        plain.append(plain_rate(arguments, runtime))
        ours.append(our_rate(arguments, runtime))
        if repeat == 0:  # warm-up
            plain.clear()
            ours.clear()
    print(
        f"torch {torch.__version__}, {runtime.notes[0]}, "
        f"{arguments.backbone}, {arguments.size} px, batch {arguments.batch}"
    )
    for name, rates in (("plain PyTorch", plain), ("transferkit", ours)):
        print(f"{name:14} {statistics.median(rates):8.1f} img/s ({min(rates):.1f} to {max(rates):.1f})")
    print(f"ratio          {statistics.median(ours) / statistics.median(plain):8.2f}")


def plain_rate(arguments: argparse.Namespace, runtime: machine.Runtime) -> float:
    model = torchvision.models.get_model(arguments.backbone, weights=None, num_classes=10).to(runtime.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=False)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size, device=runtime.device)
    labels = torch.randint(10, (arguments.batch,), device=runtime.device)
    started = time.perf_counter()
    for _ in range(arguments.steps):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return arguments.steps * arguments.batch / (time.perf_counter() - started)


def our_rate(arguments: argparse.Namespace, runtime: machine.Runtime) -> float:
    options = {"size": arguments.size, "epochs": 2, "batch_size": arguments.batch, "head": "random", "weights": "none"}
    options |= {
        "optimizer": "sgd",
        "lr": 0.01,
        "head_lr": 0.1,
        "weight_decay": 5e-4,
        "clip_norm": 1.0,
        "layer_decay": 1.0,
    }
    count = arguments.batch * arguments.steps
    recipe = resolved(from_options("finetune", arguments.backbone, "cifar10", options, ()), count, 224)
    training = resolved_training(recipe.method)
    classifier = load(recipe.backbone, [str(label) for label in range(10)], arguments.size, SILENT)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 224, 224), dtype=np.uint8)
    images = Images.from_pixels(pixels, np.arange(count) % 10, classifier.class_names)
    groups = parameter_groups(classifier, training)
    history = train(classifier, images, images.subset([]), training, groups, Context(runtime, SILENT, seed=0))
    return float(history.epochs[-1].images_per_second or 0.0)


if __name__ == "__main__":
    main()
