"""Does bf16 pay on this CPU? A product, features, and gradients of depthwise convolutions in bf16 and fp32, in turns.

    OMP_NUM_THREADS=1 python benchmarks/bf16_units.py [--turns 7]

How many times as long bf16 takes as fp32; seconds are those of the process, so that other work does not count.
`transferkit.runtime.processor.has_bf16_units` should say of the processor what the product and the features show.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from speed.machine import load as load_of_machine
from speed.machine import setting
from speed.turns import in_turns, ratio
from torch.nn import functional as F

from transferkit.features.fast_classifier import FastClassifier
from transferkit.models.backbones import load
from transferkit.recipe import BackboneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.processor import has_bf16_units

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NETWORKS = {"resnet18": 224, "vgg11": 64, "timm/tf_efficientnet_lite0": 96, "timm/convnext_atto": 96}
DEPTHWISE = ((1152, 3, 5, 1), (144, 24, 5, 2), (240, 12, 5, 1), (96, 48, 3, 2), (144, 24, 3, 1))
IMAGES = 32

Work = Callable[[torch.dtype], Callable[[], object]]


def main() -> None:
    """A line for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    print(f"{setting(1)}; {load_of_machine()}; counts as one with bf16 units: {has_bf16_units()}")
    torch.set_num_threads(1)
    report("product, 1024 x 1024", product, turns)
    for name, px in NETWORKS.items():
        report(f"features, {name}, {px} px, {IMAGES} images", partial(features, name, px), turns)
    for maps, side, kernel, stride in DEPTHWISE:
        what = f"gradients, {maps} maps of {side} x {side}, kernel {kernel}, stride {stride}, 64 images"
        report(what, partial(depthwise_gradients, maps, side, kernel, stride), turns)


def report(what: str, work: Work, turns: int) -> None:
    """How long it takes in both types."""
    seconds = in_turns({name: work(dtype) for name, dtype in TYPES.items()}, turns)
    taken = ", ".join(f"{name} {1e3 * median(each):.1f} ms" for name, each in seconds.items())
    print(f"{what}: {taken}; bf16 takes {ratio(seconds['bf16'], seconds['fp32'])} times as long", flush=True)


def product(dtype: torch.dtype) -> Callable[[], object]:
    """Of two square matrices."""
    left, right = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    return lambda: left @ right


def features(name: str, px: int, dtype: torch.dtype) -> Callable[[], object]:
    """As all commands get them."""
    runtime = machine.start("cpu", "bf16" if dtype == torch.bfloat16 else "fp32", 1)
    classifier = load(BackboneSettings(name=name, weights="none"), list("0123456789"), px, SILENT)
    fast = FastClassifier(classifier, runtime, SILENT)
    images = torch.randint(0, 256, (IMAGES, 3, px, px), dtype=torch.uint8)
    return torch.inference_mode()(lambda: fast(images))


def depthwise_gradients(maps: int, side: int, kernel: int, stride: int, dtype: torch.dtype) -> Callable[[], object]:
    """Of the images and of the kernels."""
    padding = kernel // 2
    images = torch.randn(64, maps, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(maps, 1, kernel, kernel).to(dtype)
    outputs = F.conv2d(images, weight, None, stride, padding, 1, maps)
    gradient = torch.randn_like(outputs)
    geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], maps, [True, True, False])
    return lambda: torch.ops.aten.convolution_backward(gradient, images, weight, None, *geometry)


if __name__ == "__main__":
    main()
