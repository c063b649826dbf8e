"""What training in several processes costs: time per image beside one process alone, in turns.

CPU time says what each image costs in all threads of a process, those of the communication library included; it may be
measured beside other work. Wall-clock time says what a process waits for too; it means something on idle cores alone,
one for each process. The ratio is the throughput of each process beside one alone.

Usage: OMP_NUM_THREADS=1 python benchmarks/together.py [--network resnet18] [--px 64] [--batch 32] [--turns 5]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.data.images import Images
from transferkit.models import backbones
from transferkit.recipe import BackboneSettings, FinetuneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.distributed import join
from transferkit.training import parameter_groups, resolved_training
from transferkit.training.loop import begun, train_epochs

KEYS: dict[str, Any] = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup": 0.0,
    "shift": 0.125,
    "norm_bias_lr": 1.0,
    "clip_norm": 0.0,
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "freeze_after": {},
    "lookahead": False,
    "ema": False,
    "flip": True,
    "alternating_flip": False,
    "test_flip": False,
    "test_shifts": False,
    "weight_decay": 0.0,
    "lr": 0.01,
    "head_lr": 0.01,
    "layer_decay": 1.0,
}


@dataclass(frozen=True)
class Spent:
    """Seconds per image of one process: of the processor, and by the clock on the wall."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> Spent:
        """What both clocks say."""
        return cls(time.process_time(), time.perf_counter())

    def over(self, earlier: Spent, images: float) -> Spent:
        """What passed since, for each of so many images."""
        return Spent((self.cpu - earlier.cpu) / images, (self.wall - earlier.wall) / images)


def measured(options: argparse.Namespace, processes: int) -> Spent:
    """What one process among so many spends, in steps of `batch` images for each."""
    world = join()
    runtime = replace(machine.start("cpu", options.precision, 1), world=world)
    torch.manual_seed(0)
    classifier = backbones.load(BackboneSettings(name=options.network, weights="none"), ("a", "b"), options.px, SILENT)
    count = options.batch * processes * options.steps
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, options.px, options.px), np.uint8)
    images = Images.from_pixels(pixels, np.arange(count) % 2, ("a", "b"))
    settings = FinetuneSettings(name="finetune", epochs=2, batch_size=options.batch * processes, **KEYS)
    training_settings = resolved_training(settings)
    groups = parameter_groups(classifier, training_settings)
    training = begun(classifier, training_settings, groups, runtime)
    clocks: list[Spent] = []
    context = Context(runtime, SILENT, 0, note_epoch=lambda _: clocks.append(Spent.now()))
    train_epochs(training, images, images.subset([]), training_settings, groups, context)
    return clocks[-1].over(clocks[-2], count / processes)  # of the second epoch; the first pays for what is paid once


def turn(options: argparse.Namespace, processes: int) -> Spent:
    """The mean over the processes of one measurement, in forked ones."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        children = []
        for rank in range(processes):
            if child := os.fork():
                children.append(child)
                continue
            os.environ.update(WORLD_SIZE=str(processes), RANK=str(rank), LOCAL_RANK=str(rank))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            (Path(folder) / str(rank)).write_text(json.dumps(asdict(measured(options, processes))))
            os._exit(0)
        for child in children:
            os.waitpid(child, 0)
        found = [Spent(**json.loads(path.read_text())) for path in Path(folder).iterdir()]
    return Spent(statistics.mean(one.cpu for one in found), statistics.mean(one.wall for one in found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    ratios = []
    for _ in range(options.turns):
        alone, together = turn(options, 1), turn(options, options.processes)
        ratios.append(Spent(alone.cpu / together.cpu, alone.wall / together.wall))
        print(f"alone {in_words(alone)}; together {in_words(together)}", flush=True)
    told("CPU time", [ratio.cpu for ratio in ratios])
    told("wall clock", [ratio.wall for ratio in ratios])


def in_words(spent: Spent) -> str:
    """Both times of an image."""
    return f"{1000 * spent.cpu:.2f} ms of CPU and {1000 * spent.wall:.2f} ms of the wall clock per image"


def told(clock: str, ratios: list[float]) -> None:
    """The median and the range."""
    print(f"{clock}: {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}, n = {len(ratios)}")


if __name__ == "__main__":
    main()
