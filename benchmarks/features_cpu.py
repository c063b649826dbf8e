"""ResNet-18 features on a CPU against the plain PyTorch loop, all arms in one run on the same images.

    python benchmarks/features_cpu.py --threads 4

Arms: (a) the plain loop: fp32, NCHW, `no_grad`, one image size; (b) eager, channels_last, in the precision that this
machine computes fast; (c) transferkit's network, BatchNorm folded, eager; (d) the same, compiled. The arms take turns
and the best turn of each counts, because other programs disturb it only one way. (a) is also the reference of the
features: the least cosine per image is printed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from transferkit.features.layer_network import LayerNetwork
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.runtime import machine, processor
from transferkit.runtime.console import Console

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # torchvision docs


def main() -> None:
    """Measure and print."""
    options = parsed()
    runtime = machine.start("cpu", options.precision, options.threads)
    torch.manual_seed(0)
    body = resnet18(weights=None).eval()
    body.fc = nn.Identity()
    classifier = Classifier(body, 512, ("-",), {}, InputSpec(options.size, **IMAGENET)).eval()
    images = torch.randint(0, 256, (options.batch, 3, options.size, options.size), dtype=torch.uint8)
    arms = {"a plain fp32 NCHW": plain(body), f"b eager {runtime.precision} channels_last": eager(classifier, runtime)}
    arms["c folded"] = folded = LayerNetwork(classifier, ["penultimate"], "avg", runtime, Console())
    if not options.no_compile:
        network = LayerNetwork(classifier, ["penultimate"], "avg", runtime, Console())
        started = time.perf_counter()
        network.compile(images)
        print(f"compiling and comparing took {time.perf_counter() - started:.0f} s; kept: {network.is_compiled}")
        arms["d folded, compiled"] = network
    show(arms, images, options, runtime)
    del folded


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def plain(body: nn.Module) -> Callable[[Tensor], Tensor]:
    """What one writes first."""
    mean, std = (torch.tensor(IMAGENET[name]).view(1, 3, 1, 1) for name in ("mean", "std"))

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        features: Tensor = body((images.float() / 255 - mean) / std)
        return features

    return run


def eager(classifier: Classifier, runtime: machine.Runtime) -> Callable[[Tensor], Tensor]:
    """channels_last and autocast, as a careful reader of the documentation writes it."""
    import copy

    network = copy.deepcopy(classifier).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        with runtime.autocast():
            return network.features(images).float()

    return run


def show(
    arms: dict[str, Callable[[Tensor], Tensor]], images: Tensor, options: argparse.Namespace, runtime: machine.Runtime
) -> None:
    """One line per arm: img/s, ratio to (a) and to (b), least cosine to (a)."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    features = {name: output(arm, images) for name, arm in arms.items()}
    for _ in range(options.turns):
        for name, arm in arms.items():
            started = time.perf_counter()
            output(arm, images)
            seconds[name].append(time.perf_counter() - started)
    best = {name: options.batch / min(times) for name, times in seconds.items()}
    first, second, *_ = best
    print(f"{machine.device_name(runtime.device)}, {runtime.threads} of {processor.usable_cores()} cores, "
          f"{runtime.precision}, torch {torch.__version__}, Python {platform.python_version()}")  # fmt: skip
    print(f"ResNet-18, {options.size} px, batch {options.batch}, best of {options.turns} turns")
    for name, rate in best.items():
        cosine = float(torch.cosine_similarity(features[first], features[name]).min())
        ratios = f"{rate / best[first]:5.2f}x (a)  {rate / best[second]:5.2f}x (b)"
        print(f"{name:32} {rate:7.1f} img/s  {ratios}  least cosine to (a) {cosine:.6f}")


def output(arm: Callable[[Tensor], object], images: Tensor) -> Tensor:
    """The features of an arm, whichever way it gives them."""
    found = arm(images)
    return found["penultimate"] if isinstance(found, dict) else found  # type: ignore[return-value]


if __name__ == "__main__":
    main()
