"""transferkit's own arms, through its public calls, and a fingerprint of the code that they ran."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from finetuning.images import Arithmetic
from finetuning.networks import BACKBONES
from finetuning.rivals import Trial
from finetuning.settings import Setting
from finetuning.targets import Task

ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # the method, and what the recipe says beside the setting
    "probe": ("probe", {}),
    "default": ("finetune", {}),
    "random head": ("finetune", {"head": "random"}),
}
# Rooms without influence on what a network learns and predicts; a change there keeps what was measured.
WITHOUT_INFLUENCE = {"cli", "report", "studies", "deploy", "ood", "metrics", "estimates", "api"}


def measure(arm: str, task: Task, setting: Setting, seed: int, weights: Path, on: Arithmetic, work: Path) -> Trial:
    """Run one of the arms in the folder `work`, which is emptied again."""
    import transferkit

    method, own = ARMS[arm]
    backbone = BACKBONES[setting.backbone]
    options: dict[str, Any] = {"weights": str(weights / backbone.file), "size": setting.size_px, "seed": seed}
    options |= {"device": on.device, "precision": on.precision, "threads": torch.get_num_threads(), **own}
    if method == "finetune":
        options |= {"epochs": setting.epochs, **({} if setting.flip else {"flip": False})}
    try:
        call = getattr(transferkit, method)
        run = call(backbone.name, f"folder:{task.folder}", out=work, overwrite=True, quiet=True, **options)
        return _trial(run, task)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _trial(run: Any, task: Task) -> Trial:
    from transferkit.runtime.records import as_json

    outputs = run.outputs("test")
    right = dict(zip(outputs.ids, (outputs.predictions == outputs.labels).tolist(), strict=True))
    correct = torch.tensor([right[f"test/{name}"] for name in task.test.ids], dtype=torch.bool).numpy()
    spent = run.facts.fit_seconds
    facts = {
        "notes": list(run.facts.notes),
        "history": as_json(run.history.epochs),
        "recipe": (run.path / "recipe.yaml").read_text(),
    }
    return Trial(correct, {"all": spent, "last": spent}, facts)


def package_folder() -> Path:
    """Where the transferkit lies that Python would import; it is not imported."""
    from importlib.util import find_spec

    spec = find_spec("transferkit")
    if spec is None or spec.origin is None:
        raise SystemExit("No transferkit to measure. Set PYTHONPATH to its repository, or install it.")
    return Path(spec.origin).parent


def fingerprint(package: Path) -> str:
    """Eight hex digits over the source that decides what the arms learn and predict."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        inner = path.relative_to(package)
        if inner.parts[0] not in WITHOUT_INFLUENCE:
            digest.update(str(inner).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def commit(package: Path) -> str:
    """The commit of the package's repository, with + where files differ from it; empty where there is none."""
    base = ["git", "-C", str(package)]
    try:
        head = subprocess.run([*base, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run([*base, "status", "--porcelain", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")
