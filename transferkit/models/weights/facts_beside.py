"""What the files beside weights say of them: timm's config.json, and the README.md of a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferkit.models.stored_model import Triple
from transferkit.models.weights.content import Preparation, interpolation_named

Spread: TypeAlias = Annotated[float, Field(gt=0)]


class TimmConfig(BaseModel):
    """What is read of timm's `pretrained_cfg`; its centre crop is left out, as for timm's own weights."""

    model_config = ConfigDict(extra="ignore")

    mean: Triple
    std: tuple[Spread, Spread, Spread]
    interpolation: str = ""
    input_size: tuple[int, Annotated[int, Field(gt=0)], int]


def preparation_beside(path: Path) -> Preparation | None:
    """How timm's config.json beside a file of weights wants its images; None where there is none."""
    config = _timm_config(path)
    return Preparation(config.mean, config.std, interpolation_named(config.interpolation)) if config else None


def px_beside(path: Path) -> int | None:
    """The side in px that it states."""
    config = _timm_config(path)
    return config.input_size[1] if config else None


def licence_beside(path: Path) -> str:
    """What the front matter of the README.md beside a file of weights says; unknown where it says nothing."""
    try:
        begin, _, rest = (path.parent / "README.md").read_text(encoding="utf-8").partition("---\n")
        matter: Any = yaml.safe_load(rest.partition("\n---")[0]) if not begin.strip() else None
    except (OSError, ValueError, yaml.YAMLError):
        return "unknown"
    licence = matter.get("license") if isinstance(matter, dict) else None
    return licence if isinstance(licence, str) else "unknown"


def _timm_config(path: Path) -> TimmConfig | None:
    try:
        content = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        return TimmConfig.model_validate(content["pretrained_cfg"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
