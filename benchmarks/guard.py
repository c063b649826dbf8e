"""Six speeds as ratios to named peers, kept in a file, and what got slower since.

    OMP_NUM_THREADS=1 python benchmarks/guard.py speeds.jsonl

Takes under two minutes on an idle core (45 s of it). Each ratio is over pairs of turns, in seconds of this process. The
file gets a line with all pairs and the machine's description; they are held against the last three lines of the same
machine and libraries. Something got slower where the whole 95 % interval of the change (bootstrap over the pairs of
both) lies beyond 15 % for each of the three: other work on a machine shifts some ratios, and differently from hour to
hour. The exit code is then 1. Nothing here is a test. `--plant 1.25` makes ours that many times as slow, to see that it
is told; such a line is not kept.
"""

from __future__ import annotations

import argparse
import atexit
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from decode_pixels import image_folder, ours, written
from features_cpu import plain
from probe_solver import GRID, pooled_features, scikit_learn
from probe_solver import ours as probe
from speed.machine import Setting, setting
from speed.machine import load as load_of_machine
from speed.turns import Arm, in_turns, ratio
from train_step import Case, our_steps, plain_steps

from transferkit.data.resizing import by_torch
from transferkit.features.layer_network import LayerNetwork
from transferkit.models.backbones import load
from transferkit.recipe import BackboneSettings
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT

SLOWER = 1.15  # times as slow: what is told
FEWEST_PAIRS = 10
LINES = 3  # of the file, against each of which something has to be slower
LONG_TURN = 0.2  # seconds; in shorter ones what disturbs a turn is much beside it
RESAMPLES = 2_000
SEED = 0

Arms = tuple[Arm, Arm]  # the peer's, and ours
Clock = Callable[[], float]


@dataclass(frozen=True)
class Speeds:
    """One line of the file.

    Attributes:
        date: When it was measured.
        setting: The machine and its libraries.
        load: How busy it was.
        pairs: Times as fast as the peer, by what is measured, for each pair of turns.
    """

    date: str
    setting: Setting
    load: str
    pairs: dict[str, list[float]]


def main() -> int:
    """Measure, compare, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pairs", type=int, default=FEWEST_PAIRS, help=f"of turns, at least {FEWEST_PAIRS}")
    parser.add_argument("--plant", type=float, default=1.0, metavar="TIMES", help="make ours so many times as slow")
    arguments = parser.parse_args()
    if arguments.plant < 1:
        parser.error(f"--plant is {arguments.plant:g}; expected at least 1, such as 1.25 for a quarter slower")
    if arguments.pairs < FEWEST_PAIRS:
        parser.error(
            f"--pairs is {arguments.pairs}; expected at least {FEWEST_PAIRS}, below which intervals say nothing"
        )
    started = time.perf_counter()
    speeds = measured(arguments.pairs, arguments.plant)
    slower = report(speeds, latest_of(arguments.file, speeds.setting))
    if arguments.plant == 1:
        keep(speeds, arguments.file)
    print(
        f"{time.perf_counter() - started:.0f} s; {'not kept' if arguments.plant > 1 else f'kept in {arguments.file}'}"
    )
    return 1 if slower else 0


def keep(speeds: Speeds, file: Path) -> None:
    """Append a line."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(speeds)) + "\n")


def measured(pairs: int, planted: float = 1.0) -> Speeds:
    """All six, with one thread; ours so many times as slow as they are."""
    machine.start("cpu", threads=1)
    ratios = {name: pair_ratios(arms(), pairs, planted) for name, arms in MEASURED.items()}
    return Speeds(time.strftime("%Y-%m-%d %H:%M"), setting(threads=1), load_of_machine(), ratios)


def pair_ratios(arms: Arms, pairs: int, planted: float = 1.0) -> list[float]:
    """How many times as fast as the peer, pair by pair."""
    peer, own = arms
    repeats = repeats_of(peer)
    both = {"peer": repeated(peer, repeats), "ours": slowed(repeated(own, repeats), planted)}
    seconds = in_turns(both, pairs)
    return [round(peer / own, 4) for peer, own in zip(seconds["peer"], seconds["ours"], strict=True)]


def repeats_of(arm: Arm, clock: Clock = time.process_time) -> int:
    """How often this is done in a turn of some length; its first call pays for what is paid once and does not count."""
    arm()
    started = clock()
    arm()
    return max(1, math.ceil(LONG_TURN / max(clock() - started, 1e-6)))


def repeated(arm: Arm, times: int) -> Arm:
    """The same, several times in one turn."""

    def turn() -> None:
        for _ in range(times):
            arm()

    return turn


def slowed(arm: Arm, times: float, clock: Clock = time.process_time) -> Arm:
    """The same, after which the processor does nothing useful until so many times the seconds have passed."""

    def turn() -> None:
        started = clock()
        arm()
        end = started + times * (clock() - started)
        while clock() < end:
            pass

    return turn if times > 1 else arm


def decoding(width: int, height: int, size: int) -> Arms:
    """Sixteen JPEGs, beside ImageFolder's transforms."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    paths = list(written(Path(folder.name), (width, height), None))
    return partial(image_folder, paths, size), partial(ours, paths, size, by_torch, has_simplejpeg=True)


def training(case: Case) -> Arms:
    """A step, beside the plain fp32 loop."""
    return plain_steps(case, is_tuned=False), our_steps(case, machine.start("cpu", threads=1))


def features() -> Arms:
    """ResNet-18 at 224 px, beside the plain fp32 loop."""
    torch.manual_seed(SEED)
    classifier = load(BackboneSettings(name="resnet18", weights="none"), ("a", "b"), 224, SILENT).eval()
    network = LayerNetwork(classifier, ["penultimate"], "avg", machine.start("cpu", threads=1), SILENT)
    images = torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8)
    return plain(classifier, images), partial(network, images)


def probes() -> Arms:
    """Ten values of C on 1,000 features, beside scikit-learn with its looser default tolerance, warm-started."""
    values, labels = pooled_features(1_000, 128, 10)
    standardised = ((values - values.mean(0)) / values.std(0, unbiased=False)).numpy()
    theirs = partial(scikit_learn, standardised, labels.numpy(), 1e-4)
    return theirs, partial(probe, values, labels, 10, GRID, 1e-5)


MEASURED: dict[str, Callable[[], Arms]] = {
    "decode 500x375 to 224 px": partial(decoding, 500, 375, 224),
    "decode 32x32": partial(decoding, 32, 32, 32),
    "train resnet18-cifar, 32 px": partial(training, Case("scratch", "resnet18-cifar", 32, 16, 1)),
    "fine-tune resnet18, 224 px": partial(training, Case("finetune", "resnet18", 224, 4, 1)),
    "features of resnet18, 224 px": features,
    "probe, 10 values of C": probes,
}


def latest_of(file: Path, wanted: Setting) -> list[Speeds]:
    """The last lines that were measured with this machine and these libraries, the latest first."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    all_speeds = [Speeds(**{**line, "setting": Setting(**line["setting"])}) for line in map(json.loads, lines)]
    return [speeds for speeds in reversed(all_speeds) if speeds.setting == wanted][:LINES]


def report(speeds: Speeds, before: Sequence[Speeds]) -> list[str]:
    """Print every ratio and its change since the latest line before; give the names of what got slower than in each."""
    print(f"{speeds.setting}; {speeds.load}")
    dates = ", ".join(f"{line.date} ({line.load})" for line in before)
    print(
        f"Held against {dates}; changes are since the first of these."
        if before
        else "Nothing kept of this machine yet."
    )
    slower: list[str] = []
    for name, pairs in speeds.pairs.items():
        changes = [change_of(pairs, line.pairs[name]) for line in before if name in line.pairs]
        is_slower = bool(changes) and all(high < 1 / SLOWER for _, _, high in changes)
        slower += [name] * is_slower
        print(f"{name:30} {ratio(pairs, [1.0] * len(pairs))!s:32}{in_words(changes[:1])}{'  SLOWER' * is_slower}")
    return slower


def change_of(now: list[float], before: list[float]) -> tuple[float, float, float]:
    """How many times as fast as before, with the 95 % interval of a bootstrap over both lists of pairs."""
    generator = np.random.default_rng(SEED)
    drawn = [np.median(generator.choice(pairs, (RESAMPLES, len(pairs))), axis=1) for pairs in (now, before)]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return float(np.median(now) / np.median(before)), float(low), float(high)


def in_words(changes: Sequence[tuple[float, float, float]]) -> str:
    """The change and its interval, if there is one."""
    return "".join(f"  {middle:.2f} times as fast as before ({low:.2f} to {high:.2f})" for middle, low, high in changes)


if __name__ == "__main__":
    sys.exit(main())
