"""The rival of fine-tuning: a plain PyTorch loop on a folder of train/ and test/, without anything of transferkit.

SGD 0.03 with Nesterov momentum, head 0.1, one cycle, random head, batch 128, mirrored and shifted images, all labels.

    python benchmarks/plain_loop.py draw CIFAR_FOLDER OUT --seed 100   # 500 training images of each class, as links
    python benchmarks/plain_loop.py fit OUT WEIGHTS.safetensors --size 64 --epochs 4 --seed 0
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (torch.tensor(row).view(1, 3, 1, 1) for row in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
BATCH, PAD = 128, 4


def draw(source: Path, out: Path, per_class: int, seed: int) -> None:
    """Link some training images of each class, and all test images."""
    chosen = random.Random(seed)
    for label in sorted((source / "train").iterdir()):
        files = sorted(label.iterdir())
        chosen.shuffle(files)
        (out / "train" / label.name).mkdir(parents=True)
        for file in files[:per_class]:
            (out / "train" / label.name / file.name).symlink_to(file.resolve())
    (out / "test").symlink_to((source / "test").resolve())


def pixels(folder: Path) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 3, H, W) of one size, and labels (N,)."""
    files = [
        (file, number) for number, label in enumerate(sorted(folder.iterdir())) for file in sorted(label.iterdir())
    ]
    images = np.stack([np.asarray(Image.open(file, formats=["JPEG", "PNG"]).convert("RGB")) for file, _ in files])
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor([number for _, number in files])


def prepared(images: Tensor, size: int) -> Tensor:
    """Resized and normalised."""
    resized = F.interpolate(images.float() / 255, size=(size, size), mode="bilinear", antialias=True)
    return ((resized - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def augmented(images: Tensor) -> Tensor:
    """Each image shifted by up to 4 px after reflecting its border, and mirrored by a coin."""
    padded, side = F.pad(images.float(), (PAD,) * 4, mode="reflect"), images.shape[-1]
    moves = torch.randint(0, 2 * PAD + 1, (len(images), 2)).tolist()
    mirrored = (image.flip(2) if torch.rand(()) < 0.5 else image for image in padded)
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in zip(mirrored, moves, strict=True)])


def fit(folder: Path, weights: Path, size: int, epochs: int, seed: int) -> float:
    """Test accuracy of a ResNet-18 after so many epochs."""
    torch.manual_seed(seed)
    images, labels = pixels(folder / "train")
    network = torchvision.models.resnet18()
    body = {name: value for name, value in load_file(weights).items() if not name.startswith("fc.")}
    network.load_state_dict(body, strict=False)
    network.fc = nn.Linear(512, int(labels.max()) + 1)
    network = network.to(memory_format=torch.channels_last)
    backbone = [value for name, value in network.named_parameters() if not name.startswith("fc.")]
    groups = [{"params": backbone}, {"params": network.fc.parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.03, 0.1], total_steps=epochs * steps)
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(prepared(augmented(images[rows]), size))
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return accuracy(network.eval(), *pixels(folder / "test"), size)


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor, size: int) -> float:
    """The share of images that are answered rightly."""
    with torch.autocast("cpu", torch.bfloat16):
        answers = torch.cat([network(prepared(part, size)).argmax(1) for part in images.split(256)])
    return float((answers == labels).float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one, two = commands.add_parser("draw"), commands.add_parser("fit")
    for name in ("source", "out"):
        one.add_argument(name, type=Path)
    one.add_argument("--per-class", type=int, default=500)
    for name in ("folder", "weights"):
        two.add_argument(name, type=Path)
    for name, default in (("--size", 64), ("--epochs", 4)):
        two.add_argument(name, type=int, default=default)
    for command in (one, two):
        command.add_argument("--seed", type=int, default=0)
    asked = vars(parser.parse_args())
    if asked.pop("command") == "draw":
        draw(**asked)
    else:
        started = time.perf_counter()
        print(f"{100 * fit(**asked):.2f} % of test right, {time.perf_counter() - started:.0f} s")
