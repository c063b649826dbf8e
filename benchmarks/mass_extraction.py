"""What a million images cost, and whether memory stays flat: extraction in shards, and training from a stream.

    python benchmarks/mass_extraction.py memory         1,000, 4,000 and 16,000 tiny images: peak memory of a process
    python benchmarks/mass_extraction.py cost FOLDER    JPEG files of a folder in tar shards: CPU seconds, by slope

Prints one JSON line per command that it times, and at the end what follows from them. CPU seconds are those of all
processes of the command; other programs on the machine lengthen them less than the clock.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MILLION = 1_000_000
SHARDS = 16


def write_shards(folder: Path, contents: Sequence[bytes], images: int) -> Path:
    """Tar shards of so many images, the contents over and over, two classes."""
    folder.mkdir(parents=True)
    for shard, numbers in enumerate(np.array_split(np.arange(images), SHARDS)):
        part = "test" if shard == 0 else "train"
        with tarfile.open(folder / f"{part}-{shard:03d}.tar", "w") as archive:
            for number in numbers.tolist():
                label = b"a" if number % 2 else b"b"
                for ending, content in ((".jpg", contents[number % len(contents)]), (".cls", label)):
                    member = tarfile.TarInfo(f"{number:08d}{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


def tiny_images() -> list[bytes]:
    """A hundred JPEG files of 32 px."""
    generator, contents = np.random.default_rng(0), []
    for _ in range(100):
        file = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "JPEG")
        contents.append(file.getvalue())
    return contents


def timed(words: Sequence[str]) -> dict[str, float]:
    """Clock, CPU seconds and peak memory of a command, in a process that starts nothing else."""
    code = (
        "import resource, subprocess, sys, time, json; start = time.time(); "
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(json.dumps([time.time() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))"
    )
    command = [sys.executable, "-m", "transferkit", *words]
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    seconds, cpu_seconds, peak = json.loads(done.stdout)
    measured = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1), "peak_mib": round(peak)}
    print(json.dumps({"command": " ".join(words), **measured}), flush=True)
    return measured


def memory(folder: Path) -> None:
    """Peak memory at 1,000, 4,000 and 16,000 images."""
    for images in (1_000, 4_000, 16_000):
        shards = str(write_shards(folder / f"tiny-{images}", tiny_images(), images))
        extract = ["extract", "resnet-mini", shards, "--weights", "none", "--size", "16", "--dtype", "float16"]
        for executor in ("here", "processes"):
            more = ["--workers", "2"] if executor == "processes" else []
            out = str(folder / f"{images}-{executor}.npy")
            timed([*extract, "--shards", str(SHARDS), "--executor", executor, *more, "--out", out])
        train = ["scratch", "resnet-mini", "--data", f"shards:{shards}", "data.stream=true", "data.storage=16"]
        more = ["data.stream_window=1024", "--epochs", "1", "--size", "16"]
        timed([*train, *more, "--out", str(folder / f"run-{images}")])


def cost(folder: Path, images: Path, backbone: str) -> None:
    """CPU seconds and bytes per million images, from the slope between two numbers of images."""
    contents = [path.read_bytes() for path in sorted(images.rglob("*.jpg"))]
    measured = {}
    for count in (len(contents), 3 * len(contents)):
        shards = str(write_shards(folder / f"photos-{count}", contents, count))
        out = folder / f"{count}.npy"
        words = ["extract", backbone, shards, "--weights", "none", "--size", "224", "--dtype", "float16"]
        used = timed([*words, "--threads", "1", "--compile", "off", "--shards", "4", "--out", str(out)])
        kept = sum(path.stat().st_size for path in folder.glob(f"{count}.npy*"))
        measured[count] = (used["cpu_seconds"], kept)
    (few, (cpu, kept)), (many, (more_cpu, more_kept)) = sorted(measured.items())
    per_image = {"cpu_seconds": (more_cpu - cpu) / (many - few), "bytes_written": (more_kept - kept) / (many - few)}
    per_image["bytes_read"] = float(np.mean([len(content) for content in contents]))
    print(json.dumps({"per million": {name: round(MILLION * value) for name, value in per_image.items()}}))


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "cost"))
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--backbone", default="resnet18")
    given = parser.parse_args()
    started = time.strftime("%Y-%m-%d %H:%M")
    with tempfile.TemporaryDirectory() as scratch:
        if given.what == "memory":
            memory(Path(scratch))
        else:
            cost(Path(scratch), given.images, given.backbone)
    print(json.dumps({"started": started, "own_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
