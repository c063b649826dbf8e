"""Kill commands at their n-th change of the disk, run them again, and compare with a run that nothing interrupted.

A change is an event of Python's audit hook below the working folder or the cache: open for writing, rename, remove,
mkdir or rmdir. Each trial is a child forked from this process, which has imported everything and computed nothing, so
that a trial costs its own work alone. After the kill the same command (with --resume where it has that) must come to
its end, once; its numbers must be those of the uninterrupted run bit for bit; files of others must be as they were; and
no partial file may be left.

Usage: python tests/kill_points.py SCENARIO,... [--points 40] [--seed 0]; prints one JSON line per scenario.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
DONE = ("exists. Choose another file",)  # what a command that has written its file answers to being typed again
MINE = {"notes.txt": "mine", "run/notes.txt": "mine", "study/notes.txt": "mine", "cache/features/notes.txt": "mine"}
SMALL = ["--data", "digits", "--weights", "none", "--limit-per-class", "10", "--threads", "1"]
TRAINED = [*SMALL, "--epochs", "3"]


@dataclass(frozen=True)
class Scenario:
    """A command that is killed.

    Attributes:
        command: What is typed.
        again: What is typed after the kill.
        before: Commands that come before and are not killed.
        result: The folder or file whose numbers are compared.
    """

    command: list[str]
    again: list[str]
    result: str
    before: tuple[list[str], ...] = ()


def scenarios() -> dict[str, Scenario]:
    """By name; `replace` and `replace-study` overwrite what an earlier command with other settings left."""
    finetune = ["finetune", "resnet-mini", *TRAINED, "--out", "run"]
    probe = ["probe", "resnet-mini", *SMALL, "--out", "run"]
    study = [
        *[
            "compare",
            "resnet-mini",
            "--methods",
            "probe,finetune",
            "--seeds",
            "1",
            "--budget",
            "6steps",
            "--out",
            "study",
        ],
        *SMALL,
    ]
    extract = [
        "extract",
        "resnet-mini",
        "digits",
        "--out",
        "f.npy",
        "--weights",
        "none",
        "--size",
        "8",
        "--threads",
        "1",
    ]
    limits = ["limits", "run", "--corruptions", "none", "--leave-out", "none", "--no-sweeps", "--max-images", "60"]
    other = [*finetune, "--seed", "1", "--overwrite"]
    other_study = [*study, "--set", "budget=4steps", "--overwrite"]
    return {
        "finetune": Scenario(finetune, [*finetune, "--resume"], "run"),
        "probe": Scenario(probe, [*probe, "--resume"], "run"),
        "compare": Scenario(study, study, "study"),
        "extract": Scenario(extract, extract, "f.npy"),
        "limits": Scenario(limits, limits, "run/limits", (probe,)),
        "report": Scenario(["report", "run"], ["report", "run"], "run", (probe,)),
        "replace": Scenario(other, other, "run", (finetune,)),
        "replace-study": Scenario(other_study, other_study, "study", (study,)),
    }


# --------------------------------------------------------------------------------------------------------- children


def in_child(work: Callable[[], int], folder: Path, log: Path) -> int:
    """The exit code of some work in a forked child, in a folder; negative for the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.chdir(folder)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.environ["TRANSFERKIT_CACHE"] = str(folder / "cache")
            code = work()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def typed(arguments: Sequence[str]) -> int:
    """The exit code of a command."""
    from transferkit.cli.app import main

    sys.argv = ["transferkit", *arguments, "--debug"]
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        traceback.print_exc()
        return getattr(error, "exit_code", 3)
    return 0


def watched(arguments: Sequence[str], folder: Path, at: int) -> int:
    """A command that is killed before its `at`-th change of the disk; how many there were is written to the log."""
    count = 0

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal count
        if is_change(event, details, folder):
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    code = typed(arguments)
    print(f"\nchanges: {count}\nmodules: {json.dumps(sorted(sys.modules))}")
    return code


def is_change(event: str, details: tuple[Any, ...], folder: Path) -> bool:
    """Whether an audit event changes something in a folder."""
    if event not in ("open", *EVENTS):
        return False
    path, mode, flags = (*details, None, None)[:3]
    is_writing = bool(flags & WRITING) if isinstance(flags, int) else any(sign in str(mode) for sign in "wax+")
    if (event == "open" and not is_writing) or not isinstance(path, str | bytes | os.PathLike):
        return False
    return os.path.abspath(os.fsdecode(path)).startswith(f"{folder}{os.sep}")


# ---------------------------------------------------------------------------------------------------------- trials


def laid_out(scenario: Scenario, root: Path) -> Path:
    """A folder in which the commands that come before were typed, with files of others in it."""
    folder = root / "prepared"
    folder.mkdir()
    for arguments in scenario.before:
        require(in_child(lambda arguments=arguments: typed(arguments), folder, root / "log"), root / "log")
    for name, text in MINE.items():
        if (folder / name).parent.is_dir():
            (folder / name).write_text(text)
    return folder


def require(code: int, log: Path) -> None:
    if code != 0:
        raise SystemExit(f"The uninterrupted command failed ({code}):\n{log.read_text()}")


def trial(scenario: Scenario, prepared: Path, root: Path, at: int, expected: dict[str, str]) -> list[str]:
    """What went wrong after a kill at one point; nothing where all is well."""
    folder, log = root / f"trial-{at}", root / f"log-{at}"
    shutil.copytree(prepared, folder)
    killed = in_child(lambda: watched(scenario.command, folder, at), folder, log)
    code = in_child(lambda: typed(scenario.again), folder, log)
    said = log.read_text()
    faults = [] if killed == -signal.SIGKILL else [f"was not killed but ended with {killed}"]
    if code != 0 and not any(words in said for words in DONE):
        faults.append(f"stuck, exit code {code}: {said[-1500:]}")
    elif (found := numbers(folder, scenario.result)) != expected:
        faults.append(
            f"other numbers: {sorted(key for key in expected | found if expected.get(key) != found.get(key))}"
        )
    faults += [f"left: {path.relative_to(folder)}" for path in left_overs(folder)]
    faults += [f"lost: {name}" for name in MINE if (prepared / name).exists() and not is_mine(folder / name)]
    shutil.rmtree(folder)
    return faults


def is_mine(path: Path) -> bool:
    return path.exists() and path.read_text() == MINE[path.name]


def left_overs(folder: Path) -> list[Path]:
    """Partial files and folders outside the cache, whose own are removed after a day."""
    return [path for path in folder.rglob("*.partial") if folder / "cache" not in path.parents]


def numbers(folder: Path, result: str) -> dict[str, str]:
    """Hashes of every array and of every table that the result consists of."""
    place = folder / result
    files = sorted(place.rglob("*")) if place.is_dir() else sorted(folder.glob(f"{result}*"))
    return {str(path.relative_to(folder)): digest for path in files if (digest := digest_of(path))}


def digest_of(path: Path) -> str:
    from safetensors.numpy import load_file

    if path.suffix == ".safetensors":
        arrays = {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in load_file(path).items()}
        return json.dumps(arrays, sort_keys=True)
    if path.name in ("evaluation.json", "f.npy", "f.npy.index.csv", "confusion.csv", "study.yaml"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "there" if path.suffix in (".html", ".md") else ""


def examined(name: str, points: int, seed: int) -> dict[str, Any]:
    """The figures of one scenario."""
    scenario = scenarios()[name]
    with tempfile.TemporaryDirectory() as text:
        root = Path(os.path.realpath(text))
        prepared = laid_out(scenario, root)
        whole = root / "whole"
        shutil.copytree(prepared, whole)
        require(in_child(lambda: watched(scenario.command, whole, 0), whole, root / "log"), root / "log")
        count, modules = map(json.loads, (root / "log").read_text().rpartition("changes: ")[2].split("\nmodules: "))
        import_all(modules)
        expected = numbers(whole, scenario.result)
        chosen = sorted(random.Random(seed).sample(range(1, count + 1), min(points, count)))
        faults = {at: found for at in chosen if (found := trial(scenario, prepared, root, at, expected))}
    return {"scenario": name, "changes": count, "points": len(chosen), "compared": len(expected), "faults": faults}


def warm() -> None:
    """Import what commands import; nothing is computed, so that no thread is there to be lost in a fork."""
    import torch

    import transferkit.cli.app
    import transferkit.features.extraction.streaming
    import transferkit.metrics.feature_map
    import transferkit.run
    import transferkit.studies.compare.study
    import transferkit.studies.limits.story

    torch.set_num_threads(1)
    transferkit.metrics.feature_map._places = quick_map


def import_all(names: Sequence[str]) -> None:
    """Import what a child had imported when it ended, which takes longer than its work."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def quick_map(features: Any) -> Any:
    """A map of features without t-SNE, which would take most of a trial's time and writes nothing."""
    axes = features[:, :2].astype("float32")
    return (axes - axes.min(0)) / (axes.max(0) - axes.min(0) + 1e-12)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", help=f"with commas, of {', '.join(scenarios())}; or all")
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warm()
    names = list(scenarios()) if options.scenarios == "all" else options.scenarios.split(",")
    for name in names:
        print(json.dumps(examined(name, options.points, options.seed)), flush=True)


if __name__ == "__main__":
    main()
