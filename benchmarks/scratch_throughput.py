"""Training from scratch at 32 px beside a plain PyTorch script, in one run.

python benchmarks/scratch_throughput.py --backbone resnet18-cifar

The peer is what a first script does: the same network and batch, PIL images in a Dataset, torchvision transforms image
by image (random crop with padding, mirroring, to tensor, normalise), a DataLoader with no workers (its default) or with
--workers, fp32, NCHW, torch.optim.SGD. Ours is `training.train`: uint8 images in memory, whole-batch augmentation,
precision, memory layout and allocator as `runtime` chooses, with the average of weights that is its default. Each has a
process of its own, and they take turns; the ratio is the median of the ratios of neighbours in time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from transferkit.data.images import Images
from transferkit.models.backbones import load
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, from_options
from transferkit.runtime import machine, processor
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.training import parameter_groups, resolved_training, train
from transferkit.training.defaults import resolved

NAMES = [str(label) for label in range(10)]
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # pixel statistics of CIFAR-10's training images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18-cifar")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--workers", type=int, default=0, help="of the peer's DataLoader")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true", help="seconds of one core, on a machine that others use too")
    arguments = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (arguments.batch * arguments.steps, 32, 32, 3), dtype=np.uint8)
    context = multiprocessing.get_context("spawn")
    begin = partial(count_cpu_time, arguments.cpu_time)
    with ProcessPoolExecutor(1, context, begin) as peer, ProcessPoolExecutor(1, context, begin) as house:
        turns = [
            (peer.submit(plain_rate, pixels, arguments).result(), house.submit(our_rate, pixels, arguments).result())
            for _ in range(arguments.repeats + 1)
        ]
    plain, ours = zip(*turns[1:], strict=True)  # the first is the warm-up
    runtime = machine.start(arguments.device, threads=arguments.threads)
    steps = f"{arguments.steps} steps, {arguments.repeats} repeats, peer with {arguments.workers} workers"
    print(f"torch {torch.__version__}, {runtime.notes[0]}, {arguments.backbone}, batch {arguments.batch}, {steps}")
    for name, rates in (("plain PyTorch", plain), ("transferkit", ours)):
        print(f"{name:14} {statistics.median(rates):8.1f} img/s ({min(rates):.1f} to {max(rates):.1f})")
    ratios = sorted(our / peer for peer, our in turns[1:])
    print(f"ratio          {statistics.median(ratios):8.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def count_cpu_time(wanted: bool) -> None:
    """Let every clock of this process, that of the training loop too, count its own seconds alone."""
    if wanted:
        time.perf_counter = time.process_time


class Pictures(Dataset[Any]):
    """PIL images with labels, transformed one by one."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.images = [Image.fromarray(image) for image in pixels]
        steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), index % 10


def plain_rate(pixels: np.ndarray, arguments: argparse.Namespace) -> float:
    torch.set_num_threads(arguments.threads or processor.usable_cores())
    device = machine.choose_device(arguments.device)
    network = classifier(arguments.backbone)
    model = torch.nn.Sequential(network.body, network.head).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(Pictures(pixels), arguments.batch, shuffle=True, num_workers=arguments.workers)
    started = time.perf_counter()
    for images, labels in loader:
        loss = torch.nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return len(pixels) / (time.perf_counter() - started)


def our_rate(pixels: np.ndarray, arguments: argparse.Namespace) -> float:
    runtime = machine.start(arguments.device, threads=arguments.threads)
    options = {"epochs": 1, "batch_size": arguments.batch, "mixup": 0.0}
    options |= {} if arguments.backbone == "speednet" else {"ema": True}
    recipe = resolved(from_options("scratch", arguments.backbone, "cifar10", options, ()), len(pixels), 32)
    training = resolved_training(recipe.method)
    network = classifier(arguments.backbone)
    images = Images.from_pixels(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), np.arange(len(pixels)) % 10, NAMES)
    groups = parameter_groups(network, training)
    history = train(network, images, images.subset([]), training, groups, Context(runtime, SILENT, seed=0))
    return float(history.epochs[-1].images_per_second or 0.0)


def classifier(name: str) -> Classifier:
    return load(BackboneSettings(name=name, weights="none"), NAMES, 32, SILENT)


if __name__ == "__main__":
    main()
