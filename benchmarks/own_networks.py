"""Networks of one's own, with random weights, beside plain PyTorch loops: what a student writes first.

    python benchmarks/own_networks.py digits --seeds 0 1 2
    python benchmarks/own_networks.py CIFAR_FOLDER --labels 50 --seeds 0 1 2 --network group

Each line is one training: 30 epochs on the same images, judged on the same test images, which nothing was chosen by.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import transferkit

EPOCHS, BATCH = 30, 32
TEST_OF_A_CLASS, TEST_SEED = 250, 999
LOOPS = (("adamw", 1e-3), ("sgd", 0.01), ("sgd", 0.1))


class Plain(nn.Module):
    """Two convolutions and two linear layers, without normalisation."""

    def __init__(self, px: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(64 * (px // 4) ** 2, 128), nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.max_pool2d(F.relu(self.conv1(images)), 2)
        maps = F.max_pool2d(F.relu(self.conv2(maps)), 2)
        logits: Tensor = self.fc2(F.relu(self.fc1(maps.flatten(1))))
        return logits


class Group(nn.Module):
    """Three convolutions with GroupNorm, a mean over the map, dropout."""

    def __init__(self, _px: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(self.block(3, 32), self.block(32, 64), self.block(64, 128))
        self.drop, self.fc = nn.Dropout(0.3), nn.Linear(128, classes)

    @staticmethod
    def block(taken: int, given: int) -> nn.Sequential:
        layers = nn.Conv2d(taken, given, 3, padding=1, bias=False), nn.GroupNorm(8, given), nn.ReLU(), nn.MaxPool2d(2)
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.drop(self.blocks(images).mean((2, 3))))
        return logits


NETWORKS: dict[str, type[Plain] | type[Group]] = {"plain": Plain, "group": Group}


@dataclass(frozen=True)
class Labelled:
    """Images uint8 (N, H, W, 3) to learn from and to be judged on, with their labels."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def digits(seed: int) -> Labelled:
    """900 of scikit-learn's digits at 16 px; the others are test."""
    grey, labels = load_digits(return_X_y=True)
    small = np.repeat((grey * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), 3, 3)
    images = np.stack(
        [np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)) for image in small]
    )
    order = np.random.default_rng(seed).permutation(len(images))
    learnt, judged = order[:900], order[900:]
    return Labelled(images[learnt], labels[learnt], images[judged], labels[judged])


def of_folder(folder: Path, per_class: int, seed: int) -> Labelled:
    """So many images of each class of train/, and 250 of test/ that are the same for every seed."""
    train = chosen(folder / "train", per_class, seed)
    return Labelled(*train, *chosen(folder / "test", TEST_OF_A_CLASS, TEST_SEED))


def chosen(folder: Path, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images at 32 px and labels of some files of each class."""
    random, images, labels = np.random.default_rng(seed), [], []
    for number, name in enumerate(sorted(folder.iterdir())):
        for file in random.permutation(sorted(name.iterdir()))[:per_class]:
            image = Image.open(file, formats=["JPEG", "PNG"]).convert("RGB")
            images.append(np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)))
            labels.append(number)
    return np.stack(images), np.array(labels)


def plain_loop(network: nn.Module, data: Labelled, optimizer: str, lr: float, seed: int) -> float:
    """Test accuracy of the loop of every tutorial: one rate, no augmentation, all labels."""
    torch.manual_seed(seed)
    images, labels = as_tensors(data.train), torch.from_numpy(data.train_labels)
    adamw = optimizer == "adamw"
    step: torch.optim.Optimizer = (
        torch.optim.AdamW(network.parameters(), lr) if adamw else torch.optim.SGD(network.parameters(), lr, 0.9)
    )
    for _ in range(EPOCHS):
        network.train()
        for rows in torch.randperm(len(images)).split(BATCH):
            step.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            step.step()
    network.eval()
    with torch.no_grad():
        answers = torch.cat([network(part).argmax(1) for part in as_tensors(data.test).split(500)])
    return float((answers == torch.from_numpy(data.test_labels)).float().mean())


def as_tensors(images: np.ndarray) -> Tensor:
    """(N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def ours(method: str, network: nn.Module, data: Labelled, seed: int) -> float:
    """Test accuracy of transferkit's default."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npz"
        np.savez(
            file,
            train_images=data.train,
            train_labels=data.train_labels,
            test_images=data.test,
            test_labels=data.test_labels,
        )
        call = {"finetune": transferkit.finetune, "scratch": transferkit.scratch}[method]
        out, px = f"{folder}/run", data.train.shape[1]
        return call(network, data=f"arrays:{file}", size=px, seed=seed, out=out, epochs=EPOCHS, quiet=True).accuracy


def arms(asked: argparse.Namespace, seed: int) -> Iterator[tuple[str, float]]:
    """Name and test accuracy of each training, from the same random weights but for `scratch`."""
    data = digits(seed) if asked.data == "digits" else of_folder(Path(asked.data), asked.labels, seed)

    def network() -> nn.Module:
        torch.manual_seed(seed)
        return NETWORKS[asked.network](data.train.shape[1], int(data.train_labels.max()) + 1)

    for optimizer, lr in LOOPS:
        yield f"{optimizer} {lr}", plain_loop(network(), data, optimizer, lr, seed)
    for method in ("finetune", "scratch"):
        yield method, ours(method, network(), data, seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="digits, or a folder with train/ and test/")
    parser.add_argument("--network", choices=NETWORKS, default="plain")
    parser.add_argument("--labels", type=int, default=50, help="of each class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    for number in options.seeds:
        started = time.perf_counter()
        for arm, accuracy in arms(options, number):
            seconds, started = time.perf_counter() - started, time.perf_counter()
            print(json.dumps({"seed": number, "arm": arm, "accuracy": accuracy, "seconds": round(seconds)}), flush=True)
