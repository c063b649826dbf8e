"""How time and memory of each command grow with the number of images, from 1,000 to 100,000, of some to a million.

    OMP_NUM_THREADS=1 python benchmarks/growth.py OUT [--counts 1000 10000 100000] [--commands predict limits]

Each command runs in a process of its own with an empty cache, on tiny images with a tiny network, so that what is
measured is everything around the network. OUT gets a line for each measurement (growth.jsonl) and a drawing with
logarithmic axes (growth.svg); measurements that are there already are not made again. Seconds are those of the
processor, of all processes of a command, which other work on the machine lengthens less than the clock. Memory is the
peak of what the largest process holds for itself (RssAnon, which leaves out files mapped into memory). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

COUNTS = (1_000, 10_000, 100_000)
MILLION = 1_000_000
SIDE_PX, CLASSES, FILES_PER_FOLDER, DIFFERENT_FILES = 16, 10, 1_000, 100_000
NETWORK = ("resnet-mini", "--weights", "none", "--size", str(SIDE_PX))
WORSE_THAN_LINEAR = 12.0  # times as much for ten times the images
SAMPLED_SECONDS = 0.05
KIBIBYTES_PER_MEBIBYTE = 1024


@dataclass(frozen=True)
class Place:
    """Where the images and the run of one number of images are.

    Attributes:
        images: How many.
        folder: What was made for them.
    """

    images: int
    folder: Path

    @property
    def arrays(self) -> str:
        """The data set: half of the images in train, half in test."""
        return str(self.folder / "images.npz")

    @property
    def pictures(self) -> str:
        """As many files without labels."""
        return str(self.folder / "pictures")

    @property
    def run(self) -> str:
        """The fine-tuned network."""
        return str(self.folder / "finetune")

    def fresh(self, name: str) -> str:
        """A path where nothing is yet."""
        path = self.folder / f"new-{name}"
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        return str(path)


@dataclass(frozen=True)
class Measured:
    """One command at one number of images.

    Attributes:
        command: Its name.
        images: How many it was given.
        cpu_seconds: Of the processor, in all its processes.
        seconds: By the clock.
        peak_mebibytes: Most memory that one of its processes held for itself.
        date: When.
    """

    command: str
    images: int
    cpu_seconds: float
    seconds: float
    peak_mebibytes: float
    date: str


def pipeline(place: Place) -> dict[str, list[str]]:
    """The words of each command, in the order in which one needs the other's result."""
    data = ["--data", place.arrays]
    return {
        "extract": ["extract", *NETWORK[:1], place.pictures, *NETWORK[1:], "--out", place.fresh("features.npy")],
        "probe": ["probe", *NETWORK, *data, "--out", place.fresh("probe")],
        "finetune": ["finetune", *NETWORK, *data, "--epochs", "1", "--out", place.run, "--overwrite"],
        "predict": ["predict", place.run, place.pictures, "--out", place.fresh("answers.csv")],
        "limits": ["limits", place.run, "--out", place.fresh("limits")],
        "labels": ["labels", place.run],
        "rank": ["rank", "resnet-mini", "simple-cnn", *NETWORK[1:], *data, "--out", place.fresh("rank")],
        "compare": [
            *("compare", *NETWORK, *data, "--methods", "probe,finetune", "--seeds", "2", "--budget", "1epochs"),
            *("--out", place.fresh("compare")),
        ],
        "next": ["next", place.run, "--field", place.pictures, "--out", place.fresh("next.csv")],
        "report": ["report", place.run],
    }


STREAMED = ("extract", "predict")  # what is also given a million images
NEEDS_RUN = ("predict", "limits", "labels", "next", "report")


def main() -> None:
    """Measure what is not yet measured, print, draw."""
    given = parsed()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "growth.jsonl"
    for count in given.counts:
        measure(count, given.commands, given.out / "scratch" / str(count), file)
    if given.million:
        measure(MILLION, STREAMED, given.out / "scratch" / str(MILLION), file)
    shutil.rmtree(given.out / "scratch", ignore_errors=True)
    growths = list(growth_of(read(file)))
    print("\n".join(table(read(file), growths)))
    draw(read(file), given.out / "growth.svg")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = tuple(pipeline(Place(0, Path("nowhere"))))
    parser.add_argument("out", type=Path)
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--commands", nargs="*", default=names, choices=names, metavar="COMMAND")
    parser.add_argument("--million", action="store_true", help=f"{MILLION:,} images as well, for {', '.join(STREAMED)}")
    return parser.parse_args()


def measure(count: int, commands: Sequence[str], folder: Path, file: Path) -> None:
    """Run the commands that have no line in the file yet at this number of images."""
    done = {line.command for line in read(file) if line.images == count}
    wanted = [name for name in commands if name not in done]
    if not wanted:
        return
    place = Place(count, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_pictures(Path(place.pictures), count)
    trained = min(count, max(COUNTS))  # what a million images are given to has learnt from fewer
    write_arrays(Path(place.arrays), trained)
    needs_run = "finetune" not in wanted and bool(set(wanted) & set(NEEDS_RUN))
    if needs_run and not (Path(place.run) / "evaluation.json").exists():
        run_alone(pipeline(place)["finetune"], folder)
    for name, words in pipeline(place).items():
        if name in wanted:
            line = measured(name, words, count, folder)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(line)) + "\n")
            print(line, flush=True)
    shutil.rmtree(folder)


def write_arrays(path: Path, count: int) -> None:
    """Images of ten classes that can be told apart mostly, half of them train, half test."""
    if path.exists():
        return
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, count)
    means = generator.integers(60, 196, (CLASSES, SIDE_PX, SIDE_PX, 3))
    pixels = np.empty((count, SIDE_PX, SIDE_PX, 3), np.uint8)
    for rows in np.array_split(np.arange(count), max(1, count // 10_000)):
        noise = generator.normal(0, 60, (len(rows), *pixels.shape[1:]))
        pixels[rows] = np.clip(means[labels[rows]] + noise, 0, 255)
    half = count // 2
    parts = {"train_images": pixels[:half], "train_labels": labels[:half]}
    np.savez(path, allow_pickle=False, **parts, test_images=pixels[half:], test_labels=labels[half:])


def write_pictures(folder: Path, count: int) -> None:
    """BMP files in folders of a thousand; beyond 100,000 further names of the first ones."""
    if folder.exists():
        return
    generator = np.random.default_rng(1)
    for number in range(count):
        path = picture_path(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < DIFFERENT_FILES:
            path.write_bytes(bitmap(generator.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)))
        else:
            os.link(picture_path(folder, number % DIFFERENT_FILES), path)


def picture_path(folder: Path, number: int) -> Path:
    return folder / f"{number // FILES_PER_FOLDER:04d}" / f"{number:07d}.bmp"


def bitmap(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A BMP file: a header of 54 bytes, then rows whose length is a multiple of four."""
    height, width, _ = pixels.shape
    numbers = (54 + pixels.nbytes, 0, 54, 40, width, height)
    header = b"BM" + b"".join(number.to_bytes(4, "little") for number in numbers)
    return header + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24) + pixels.tobytes()


def measured(name: str, words: Sequence[str], count: int, scratch: Path) -> Measured:
    """The command in a process of its own, with an empty cache."""
    spent = run_alone(words, scratch)
    return Measured(name, count, spent.cpu_seconds, spent.seconds, spent.peak_mebibytes, time.strftime("%Y-%m-%d"))


@dataclass(frozen=True)
class Spent:
    """What one command took; see `Measured`."""

    cpu_seconds: float
    seconds: float
    peak_mebibytes: float

    def __str__(self) -> str:
        return f"{self.cpu_seconds} CPU s, {self.seconds} s, {self.peak_mebibytes} MiB"


def run_alone(words: Sequence[str], scratch: Path) -> Spent:
    """What one command takes in a process of its own, with an empty cache in this folder.

    Raises:
        SystemExit: If it fails; says its last lines.
    """
    cache, log = scratch / "cache", scratch / "log.txt"
    shutil.rmtree(cache, ignore_errors=True)
    started = time.perf_counter()
    with log.open("wb") as lines:
        command = [sys.executable, "-m", "transferkit", *words]
        environment = {**os.environ, "TRANSFERKIT_CACHE": str(cache)}
        process = subprocess.Popen(command, stdout=lines, stderr=lines, env=environment)
        peak = Peak(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # else Popen would wait for it again
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    seconds = time.perf_counter() - started
    return Spent(round(used.ru_utime + used.ru_stime, 2), round(seconds, 2), round(peak.stop(), 1))


class Peak:
    """The most memory that a process or one of its children held for itself, looked at 20 times a second.

    No sum: a process that is about to start a program shares its memory with the child for a moment.
    """

    def __init__(self, process: int) -> None:
        self._process, self._peak, self._ended = process, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """In MiB."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLED_SECONDS):
            held = max(map(anonymous_kibibytes, family(self._process))) / KIBIBYTES_PER_MEBIBYTE
            self._peak = max(self._peak, held)


def family(process: int) -> Iterator[int]:
    """A process and all below it."""
    yield process
    for task in Path(f"/proc/{process}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:  # ended meanwhile
            continue
        for child in children:
            yield from family(int(child))


def anonymous_kibibytes(process: int) -> int:
    """Memory that is no file's; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def read(file: Path) -> list[Measured]:
    """The measurements kept so far."""
    return [Measured(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


@dataclass(frozen=True)
class Growth:
    """What ten times the images cost, between two numbers of images.

    Attributes:
        command: Its name.
        few: The smaller number of images.
        many: The larger.
        times_cpu: CPU seconds, times as many for ten times the images.
        times_memory: Memory, likewise.
    """

    command: str
    few: int
    many: int
    times_cpu: float
    times_memory: float

    @property
    def is_worse_than_linear(self) -> bool:
        """Whether either grows faster than the images, with some room for what is not exact."""
        return max(self.times_cpu, self.times_memory) > WORSE_THAN_LINEAR


def growth_of(lines: Sequence[Measured]) -> Iterator[Growth]:
    """Of each command between every two numbers of images that follow each other."""
    for name in dict.fromkeys(line.command for line in lines):
        ordered = sorted((line for line in lines if line.command == name), key=lambda line: line.images)
        for few, many in pairwise(ordered):
            yield growth(few, many)


def growth(few: Measured, many: Measured) -> Growth:
    """As a power law through both measurements, which hides what does not grow: at few images all looks flat.

    Example:
        >>> few = Measured("predict", 100, 2.0, 2.0, 300.0, "")
        >>> growth(few, Measured("predict", 10_000, 200.0, 200.0, 600.0, ""))
        Growth(command='predict', few=100, many=10000, times_cpu=10.0, times_memory=1.414)
    """
    tens = np.log10(many.images / few.images)

    def times(larger: float, smaller: float) -> float:
        return round(float((larger / smaller) ** (1 / tens)), 3)

    cpu, memory = (many.cpu_seconds, few.cpu_seconds), (many.peak_mebibytes, few.peak_mebibytes)
    return Growth(few.command, few.images, many.images, times(*cpu), times(*memory))


def table(lines: Sequence[Measured], growths: Sequence[Growth]) -> Iterator[str]:
    """Markdown: CPU seconds and MiB by command and number of images, and what the last step cost."""
    counts = sorted({line.images for line in lines})
    head = ["command", *(f"{count:,}" for count in counts), "ten times the last images"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for name in dict.fromkeys(line.command for line in lines):
        of_command = {line.images: line for line in lines if line.command == name}
        cells = [in_words(of_command.get(count)) for count in counts]
        last = [step for step in growths if step.command == name][-1:]
        verdict = [
            f"{s.times_cpu:.1f} x time, {s.times_memory:.1f} x memory{' !' * s.is_worse_than_linear}" for s in last
        ]
        yield f"| {' | '.join([f'`{name}`', *cells, *(verdict or [''])])} |"


def in_words(line: Measured | None) -> str:
    return f"{line.cpu_seconds:,.0f} s, {line.peak_mebibytes:,.0f} MiB" if line else ""


def draw(lines: Sequence[Measured], path: Path) -> None:
    """CPU seconds and memory over images, a line for each command, and what linear growth looks like."""
    from matplotlib.figure import Figure

    from transferkit.report.matplotlib_figures import drawn_to

    panels: tuple[tuple[str, Callable[[Measured], float]], ...] = (
        ("CPU seconds", lambda line: line.cpu_seconds),
        ("peak memory, MiB", lambda line: line.peak_mebibytes),
    )

    def drawing() -> Figure:
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        for axes, (title, value) in zip(figure.subplots(1, 2), panels, strict=True):
            draw_panel(axes, title, lines, value)
        figure.axes[1].legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure

    drawn_to(path, drawing)


MARKS = "os^vD<>pPX"


def draw_panel(axes: Any, title: str, lines: Sequence[Measured], value: Callable[[Measured], float]) -> None:
    from matplotlib.ticker import LogLocator

    for mark, name in zip(MARKS, dict.fromkeys(line.command for line in lines), strict=False):
        ordered = sorted((line for line in lines if line.command == name), key=lambda line: line.images)
        axes.plot([line.images for line in ordered], list(map(value, ordered)), marker=mark, markersize=4, label=name)
    counts = sorted({line.images for line in lines})
    lowest = min(map(value, lines))
    ends = np.array([counts[0], counts[-1]])
    axes.plot(ends, lowest * ends / counts[0], color="#56616d", linestyle=":", label="linear")
    axes.set(
        xscale="log", yscale="log", xlabel="images", title=title, ylim=(lowest / 1.5, max(map(value, lines)) * 1.5)
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
        axis.set_minor_formatter("")


if __name__ == "__main__":
    main()
