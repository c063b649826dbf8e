"""The command `doctor`: what this machine has, what is wrong with it, and what to type."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from transferkit import __version__
from transferkit.cli.options import Json
from transferkit.cli.terminal import print_json, print_starting
from transferkit.runtime.plurals import counted

if TYPE_CHECKING:
    from transferkit.runtime.console import Console


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(doctor)


def doctor(json: Json = False) -> None:
    """Check this machine: Python, torch, device, threads, caches, and what is downloaded."""
    if not json:
        print_starting("Looking at this machine")
    from transferkit.runtime.console import Console

    findings = examine()
    if json:
        print_json([vars(finding) for finding in findings])
    else:
        show(findings, Console(stream=sys.stdout))
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


@dataclass(frozen=True)
class MachineFinding:
    """One line: what was looked at, how it is, and what to do where it is not well."""

    what: str
    state: Literal["ok", "note", "broken"]
    result: str
    advice: str = ""


def examine() -> list[MachineFinding]:
    """Every finding; nothing here needs the network, and a broken torch is itself a finding."""
    findings = [_own_version(), _python(), *_packages()]
    if not any(finding.state == "broken" for finding in findings):
        findings += [*_extras(), *_machine(), *_caches()]
    return findings


def show(findings: list[MachineFinding], console: Console) -> None:
    """Print the findings, the advice under each."""
    marks = {"ok": "  ok  ", "note": " note ", "broken": "BROKEN"}
    for finding in findings:
        console.line(f"{marks[finding.state]} {finding.what}: {finding.result}")
        if finding.advice:
            console.line(f"       {finding.advice}")
    console.line(f"\n{in_one_sentence(findings)}")


def in_one_sentence(findings: list[MachineFinding]) -> str:
    """Whether one can work here, and what to do if not.

    Example:
        >>> in_one_sentence([MachineFinding("torch", "ok", "2.14")])
        'All is well. Try: transferkit quickstart'
    """
    broken = [finding.what for finding in findings if finding.state == "broken"]
    if broken:
        return f"{', '.join(broken)}: broken. Do what the advice says, and run `transferkit doctor` again."
    notes = sum(finding.state == "note" for finding in findings)
    well = f"Everything that is needed works; {counted(notes, 'note')} above." if notes else "All is well."
    return f"{well} Try: transferkit quickstart"


def _own_version() -> MachineFinding:
    return MachineFinding("transferkit", "ok", __version__)


def _extras() -> Iterator[MachineFinding]:
    """Which groups of optional packages are complete, and how to get those that are not."""
    try:
        required = metadata.requires("transferkit") or []
    except metadata.PackageNotFoundError:  # it runs from a folder, without being installed
        return
    missing: dict[str, list[str]] = {}
    for package, extra in re.findall(r"^([\w.-]+).*extra == ['\"]([\w-]+)['\"]", "\n".join(required), flags=re.M):
        missing.setdefault(extra, []).extend(() if _is_installed(package) else (package,))
    for extra, packages in missing.items():
        if packages:
            advice = f'Only if you want it, type: pip install "transferkit[{extra}]"'
            yield MachineFinding(f"extra {extra}", "ok", f"without {', '.join(packages)}", advice)
    complete = ", ".join(extra for extra, packages in missing.items() if not packages)
    yield MachineFinding("extras", "ok", f"complete: {complete or 'none'}")


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _memory() -> Iterator[MachineFinding]:
    """How much memory there is, where the system tells it (not on Windows)."""
    from transferkit.runtime.processor import memory_bytes

    if (size := memory_bytes()) < sys.maxsize:
        gigabytes = size / 1e9
        scarce = "" if gigabytes > 6 else "Little for training; use a smaller --batch-size or --size."
        yield MachineFinding("memory", "note" if scarce else "ok", f"{gigabytes:.0f} GB", scarce)


def _python() -> MachineFinding:
    return MachineFinding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Iterator[MachineFinding]:
    torch_version = _version_of("torch")
    yield torch_version
    vision = _version_of("torchvision")
    yield mended_torchvision(vision, torch_version.result)
    for name in ("timm", "sklearn"):
        yield _version_of(name)


def mended_torchvision(vision: MachineFinding, torch_version: str) -> MachineFinding:
    """The finding with advice, where torchvision fails because torch is another build than it was made for."""
    mismatch = "torchvision::nms" in vision.result or "nms does not exist" in vision.result
    if vision.state != "broken" or not mismatch:
        return vision
    advice = (
        f"torch {torch_version} and torchvision are builds that do not belong together. Type: "
        "pip install --force-reinstall torch torchvision"
    )
    return MachineFinding(vision.what, "broken", vision.result, advice)


def _version_of(name: str) -> MachineFinding:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever an import of a broken build raises
        advice = f"Type: pip install --force-reinstall {'scikit-learn' if name == 'sklearn' else name}"
        return MachineFinding(name, "broken", f"{type(error).__name__}: {error}", advice)
    return MachineFinding(name, "ok", str(module.__version__))


def _machine() -> Iterator[MachineFinding]:
    from transferkit.runtime import machine

    runtime = machine.start()
    yield MachineFinding("device", "ok", machine.device_name(runtime.device))
    slow = "" if runtime.precision == "bf16" else "No fast bf16 here; runs use fp32."
    yield MachineFinding("precision", "ok" if not slow else "note", runtime.precision, slow)
    yield MachineFinding("threads", "ok", f"{runtime.threads} of {os.cpu_count()} cores usable")
    yield from _memory()


def _caches() -> Iterator[MachineFinding]:
    from transferkit.runtime.cache_place import cache_folder
    from transferkit.runtime.folders import CACHE_ADVICE

    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield MachineFinding("cache", "broken", f"{folder} cannot be written", CACHE_ADVICE)
    else:
        scarce = "" if free > 5 else "Little room for data sets and features; see `transferkit cache size`."
        yield MachineFinding("cache", "note" if scarce else "ok", f"{folder}, {free:.0f} GB free", scarce)
    for name in ("downloads", "images", "features", "weights"):
        yield MachineFinding(f"cache, {name}", "ok", _contents(folder / name))
    yield MachineFinding("torchvision weights", "ok", _contents(_torch_hub() / "checkpoints"))
    yield from _packaged_weights()


def _packaged_weights() -> Iterator[MachineFinding]:
    from transferkit.models import weights

    packages = weights.installed()
    for problem in packages.problems:
        yield MachineFinding("weights in a package", "note", problem, "Ask the author of the package, or uninstall it.")
    for offer in packages.offers:
        state: Literal["ok", "broken"] = "ok" if offer.path.is_file() else "broken"
        yield MachineFinding("weights in a package", state, offer.summary, "" if state == "ok" else offer.advice)
    if not packages.offers:
        yield MachineFinding("weights in packages", "ok", "none; " + weights.PACKAGE_ADVICE)


def _torch_hub() -> Path:
    import torch

    return Path(torch.hub.get_dir())


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "empty"
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"{counted(len(files), 'file')}, {size / 1e6:,.0f} MB" if files else "empty"
