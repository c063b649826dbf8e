"""Training from scratch at 32 px beside a plain PyTorch script, in one run.

python benchmarks/scratch_throughput.py --backbone resnet18-cifar

The peer is what a first script does: the same network and batch, PIL images in a Dataset, torchvision transforms image
by image (random crop with padding, mirroring, to tensor, normalise), a DataLoader with no workers (its default) or with
--workers, fp32, NCHW, torch.optim.SGD. Ours is `training.train`: uint8 images in memory, whole-batch augmentation,
precision and memory layout as `runtime` chooses, with the moving average that is its default. Both take turns; the
ratio is of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from transferkit import runtime
from transferkit.backbones import load
from transferkit.classifier import Classifier
from transferkit.defaults import resolved
from transferkit.images import Images
from transferkit.job import Job
from transferkit.recipe import BackboneSettings, ScratchSettings, from_options
from transferkit.screen import SILENT
from transferkit.training import parameter_groups, train

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
    arguments = parser.parse_args()
    machine = runtime.start(arguments.device, threads=arguments.threads)
    pixels = np.random.default_rng(0).integers(0, 256, (arguments.batch * arguments.steps, 32, 32, 3), dtype=np.uint8)
    plain, ours = [], []
    for repeat in range(arguments.repeats + 1):
        pair = plain_rate(pixels, arguments, machine), our_rate(pixels, arguments, machine)
        if repeat:  # the first is the warm-up
            plain.append(pair[0])
            ours.append(pair[1])
    steps = f"{arguments.steps} steps, {arguments.repeats} repeats, peer with {arguments.workers} workers"
    print(f"torch {torch.__version__}, {machine.notes[0]}, {arguments.backbone}, batch {arguments.batch}, {steps}")
    for name, rates in (("plain PyTorch", plain), ("transferkit", ours)):
        print(f"{name:14} {statistics.median(rates):8.1f} img/s ({min(rates):.1f} to {max(rates):.1f})")
    print(f"ratio          {statistics.median(ours) / statistics.median(plain):8.2f}")


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


def plain_rate(pixels: np.ndarray, arguments: argparse.Namespace, machine: runtime.Runtime) -> float:
    network = classifier(arguments.backbone)
    model = torch.nn.Sequential(network.body, network.head).to(machine.device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(Pictures(pixels), arguments.batch, shuffle=True, num_workers=arguments.workers)
    started = time.perf_counter()
    for images, labels in loader:
        loss = torch.nn.functional.cross_entropy(model(images.to(machine.device)), labels.to(machine.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return len(pixels) / (time.perf_counter() - started)


def our_rate(pixels: np.ndarray, arguments: argparse.Namespace, machine: runtime.Runtime) -> float:
    options = {"epochs": 1, "batch_size": arguments.batch, "ema": True, "mixup": 0.0}
    recipe = resolved(from_options("scratch", arguments.backbone, "cifar10", options, ()), "cpu", len(pixels), 32)
    assert isinstance(recipe.method, ScratchSettings)
    network = classifier(arguments.backbone)
    images = Images.from_pixels(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), np.arange(len(pixels)) % 10, NAMES)
    groups = parameter_groups(network, recipe.method)
    history = train(network, images, images.subset([]), recipe.method, groups, Job(machine, SILENT, seed=0))
    return float(history[-1]["images_per_second"])


def classifier(name: str) -> Classifier:
    return load(BackboneSettings(name=name, weights="none"), NAMES, 32, SILENT)


if __name__ == "__main__":
    main()
