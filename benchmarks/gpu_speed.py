"""The speeds that matter on a GPU, beside peers in the same run, each part on its own, as JSON; see gpu.sh.

Parts run in the order of PARTS until the seconds are over; the file is written after each, so that a run that is cut
off leaves what it has. A part that fails or lacks something leaves the reason, and the next one begins.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import runpy
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import timm
import torch
from probe_solver import GRID, pooled_features
from probe_solver import ours as probe
from speed.machine import setting
from torch import nn
from train_step import Case, our_steps

import transferkit
from transferkit.data.corruptions import CORRUPTIONS, corrupt
from transferkit.features.layer_network import LayerNetwork
from transferkit.models.backbones import load
from transferkit.recipe import BackboneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT

TURNS = 5
GOALS = {  # img/s on an H100, or seconds
    "train resnet18, 128 px": 75_000,
    "train resnet18, 224 px": 25_000,
    "train resnet50, 224 px": 5_500,
    "features resnet18, 128 px": 60_000,
    "features resnet18, 224 px": 20_000,
    "solver, 10 values of C": 0.1,
}


class Missing(Exception):
    """What a part needs and has not got."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        batch: Images of a training step.
        steps: Of a turn.
        asked: Images of a pass of features.
        px: What 128 and 224 px are called, and what they are.
        solved: Features of the solver's problem, and their width.
        corrupted: Images.
    """

    batch: int
    steps: int
    asked: int
    px: Mapping[int, int]
    solved: tuple[int, int]
    corrupted: int


SIZES = {
    "full": Sizes(256, 10, 1024, {128: 128, 224: 224}, (50_000, 512), 10_000),
    "small": Sizes(4, 1, 4, {128: 32, 224: 48}, (500, 32), 20),
}


@dataclass(frozen=True)
class Bench:
    """What the parts are given."""

    runtime: machine.Runtime
    sizes: Sizes
    data: Path | None
    airbench: Path | None


def main() -> None:
    """Run the parts and keep what they give."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sizes", choices=tuple(SIZES), default="full")
    parser.add_argument("--seconds", type=float, default=240.0, help="no part begins later")
    parser.add_argument("--data", type=Path, help="a folder with cifar10/")
    parser.add_argument("--airbench", type=Path, help="a script that prints its own seconds and accuracy")
    arguments = parser.parse_args()
    bench = Bench(machine.start("auto"), SIZES[arguments.sizes], arguments.data, arguments.airbench)
    results: dict[str, Any] = {"setting": str(setting(bench.runtime.threads)), "device": bench.runtime.notes[0]}
    results |= {"sizes": arguments.sizes, "goals": GOALS, "executed": {}, "not executed": {}}
    started = time.perf_counter()
    for name, part in PARTS.items():
        left = arguments.seconds - (time.perf_counter() - started)
        keep(results, name, partial(part, bench) if left > 0 else out_of_time)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, reason in results["not executed"].items():
        print(f"NOT EXECUTED  {name}: {reason}")


def keep(results: dict[str, Any], name: str, part: Callable[[], Any]) -> None:
    """What a part gives, or why it gives nothing."""
    started = time.perf_counter()
    try:
        given = part()
    except Exception as error:  # the parts after it count too
        reason = str(error) if isinstance(error, Missing) else f"failed: {type(error).__name__}: {error}"
        results["not executed"][name] = reason[:400]
    else:
        results["executed"][name] = given | {"seconds of the part": round(time.perf_counter() - started, 1)}
        print(f"{name}: {given}")


def out_of_time() -> Any:
    """Stands for a part that does not begin."""
    raise Missing("no time was left")


def training(backbone: str, px: int, bench: Bench) -> dict[str, Any]:
    """Ours beside timm eager (bf16, channels_last, fused SGD, images on the device), in turns."""
    sizes, runtime = bench.sizes, bench.runtime
    case = Case("finetune", backbone, sizes.px[px], sizes.batch, sizes.steps)
    arms = {"ours": our_steps(case, runtime), "timm": timm_steps(case, runtime)}
    rates = rates_of(arms, case.batch * case.steps, runtime)
    return {**rates, "ratio": rates["ours"] / rates["timm"], "peak memory, MB": peak_memory(arms["ours"], runtime)}


def timm_steps(case: Case, runtime: machine.Runtime) -> Callable[[], None]:
    """A plain loop over one batch that lies on the device."""
    device = runtime.device
    model = timm.create_model(case.backbone, num_classes=10).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(case.batch, 3, case.px, case.px, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (case.batch,), device=device)

    def steps() -> None:
        for _ in range(case.steps):
            with torch.autocast(device.type, torch.bfloat16):
                loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


def features(px: int, bench: Bench) -> dict[str, Any]:
    """Pooled features of ResNet-18 from uint8 images on the device."""
    side, device = bench.sizes.px[px], bench.runtime.device
    classifier = load(BackboneSettings(name="resnet18", weights="none"), ["a", "b"], side, SILENT).eval()
    network = LayerNetwork(classifier.to(device), ["penultimate"], "avg", bench.runtime, SILENT)
    images = torch.randint(0, 256, (bench.sizes.asked, 3, side, side), dtype=torch.uint8, device=device)
    return rates_of({"ours": partial(network, images)}, len(images), bench.runtime)


def solver(bench: Bench) -> dict[str, Any]:
    """Ten values of C on features like those of a pooled network."""
    values, labels = (part.to(bench.runtime.device) for part in pooled_features(*bench.sizes.solved, 10))
    rates = rates_of({"ours": partial(probe, values, labels, 10, GRID, 1e-5)}, 1, bench.runtime)
    return {"seconds": 1 / rates["ours"], "problem": list(bench.sizes.solved)}


def whole_probe(bench: Bench) -> dict[str, Any]:
    """A probe as a user asks for it, images to page, and where its seconds go."""
    pixels = torch.randint(0, 256, (bench.sizes.solved[0] // 10, 3, 32, 32), dtype=torch.uint8).numpy()
    data = pixels, np.arange(len(pixels)) % 10
    options: dict[str, Any] = {"weights": "none", "size": bench.sizes.px[128], "quiet": True}
    profile = cProfile.Profile()
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        profile.runcall(transferkit.probe, "timm/tf_efficientnet_lite0", data, out=Path(folder) / "run", **options)
    return {"images": len(pixels), "seconds": time.perf_counter() - started, "where": costliest(profile)}


def costliest(profile: cProfile.Profile, count: int = 25) -> dict[str, float]:
    """Seconds inside the calls of transferkit that took longest, what they call included."""
    profile.create_stats()
    calls: dict[Any, Any] = profile.stats  # type: ignore[attr-defined]
    ours = {f"{Path(file).stem}.{name}": row[3] for (file, _, name), row in calls.items() if "transferkit/" in file}
    return {name: round(ours[name], 2) for name in sorted(ours, key=ours.__getitem__, reverse=True)[:count]}


def corruptions(bench: Bench) -> dict[str, Any]:
    """The whole menu at severity 3 on images of 32 px."""
    pixels = torch.randint(0, 256, (bench.sizes.corrupted, 3, 32, 32), dtype=torch.uint8, device=bench.runtime.device)
    seconds = {}
    for name in CORRUPTIONS:
        started = time.perf_counter()
        corrupt(pixels, name, 3)
        synchronize(bench.runtime)
        seconds[name] = round(time.perf_counter() - started, 4)
    return {"images": len(pixels), "total": sum(seconds.values()), "by corruption": seconds}


def host_waits(bench: Bench) -> dict[str, Any]:
    """How often a training step makes the host wait for the device: the loss alone is read."""
    sizes, runtime = bench.sizes, bench.runtime
    if runtime.device.type != "cuda":
        raise Missing("needs CUDA: other devices do not tell of waits")
    steps = our_steps(Case("finetune", "resnet18", sizes.px[128], sizes.batch, sizes.steps), runtime)
    steps()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps()
    torch.cuda.set_sync_debug_mode("default")
    places = sorted({f"{Path(warning.filename).name}:{warning.lineno}" for warning in caught})
    return {"waits per step": len(caught) / sizes.steps, "at": places}


def speednet(bench: Bench) -> dict[str, Any]:
    """`speednet` from scratch to its accuracy, beside the script of a public airbench."""
    if bench.data is None or not (bench.data / "cifar10").is_dir():
        raise Missing("needs --data FOLDER with cifar10/")
    if bench.runtime.device.type != "cuda":
        raise Missing("needs CUDA: takes half an hour on a CPU")
    started = time.perf_counter()
    run = transferkit.scratch("speednet", f"folder:{bench.data / 'cifar10'}")
    ours = {
        "accuracy": run.evaluation.test.accuracy,
        "seconds with loading and evaluation": time.perf_counter() - started,
    }
    return {"ours": ours, "airbench": airbench(bench)}


def airbench(bench: Bench) -> Any:
    """Seconds that the peer's script takes; None where it was not given."""
    if bench.airbench is None:
        return None
    started = time.perf_counter()
    runpy.run_path(str(bench.airbench), run_name="__main__")
    return {"seconds": time.perf_counter() - started}


def rates_of(arms: Mapping[str, Callable[[], object]], count: int, runtime: machine.Runtime) -> dict[str, float]:
    """Per second, of each arm's median turn; the first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(TURNS + 1):
        for name, arm in arms.items():
            synchronize(runtime)
            started = time.perf_counter()
            arm()
            synchronize(runtime)
            seconds[name].append(time.perf_counter() - started)
    return {name: count / median(taken[1:]) for name, taken in seconds.items()}


def synchronize(runtime: machine.Runtime) -> None:
    """Wait for the device, where it is one of its own."""
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(arm: Callable[[], object], runtime: machine.Runtime) -> float | None:
    """Of tensors during a turn; None on a CPU."""
    if runtime.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    arm()
    return float(np.round(torch.cuda.max_memory_allocated() / 1e6))


PARTS: dict[str, Callable[[Bench], Any]] = {
    "train resnet18, 128 px": partial(training, "resnet18", 128),
    "train resnet18, 224 px": partial(training, "resnet18", 224),
    "train resnet50, 224 px": partial(training, "resnet50", 224),
    "features resnet18, 128 px": partial(features, 128),
    "features resnet18, 224 px": partial(features, 224),
    "solver, 10 values of C": solver,
    "a whole probe": whole_probe,
    "corruption suite": corruptions,
    "waits of the host": host_waits,
    "speednet to 94 %": speednet,
}


if __name__ == "__main__":
    main()
