"""What the Python calls take, in the form that the rest of the program takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from transferkit.recipe import METHOD_MODELS
from transferkit.runtime.errors import TransferkitError


@dataclass(frozen=True)
class OwnPreparation:
    """What goes with a network of the user's own alone; see `own_modules.give`."""

    stages: Any = None
    mean: Any = None
    std: Any = None


def named_backbone(
    method: str, backbone: str | nn.Module, preparation: OwnPreparation, options: Mapping[str, Any]
) -> tuple[str, str | None]:
    """The backbone's name and its weights; those of a network of the user's own are its own.

    Raises:
        TransferkitError: If the network cannot be used, or what it alone can have is given with a name.
    """
    from transferkit.models.backbones import own_modules

    asked = [key for key, value in vars(preparation).items() if value is not None]
    weights: str | None = options.get("weights")
    if isinstance(backbone, str):
        if asked:
            raise TransferkitError(
                f"{asked[0]} goes with a network of your own; {backbone} brings its own. Leave it out."
            )
        return backbone, weights
    if weights is not None:
        raise TransferkitError(
            "A network of your own has its weights already: load others into it before (load_state_dict), and leave "
            "weights out."
        )
    settings = own_modules.give(backbone, options.get("size"), **vars(preparation)).settings
    return settings.name, settings.weights if METHOD_MODELS[method].starts_from_pretrained else "none"


def as_path(out: Path | str | None) -> Path | None:
    """A folder as it was given, None for the default one."""
    return None if out is None else Path(out)
