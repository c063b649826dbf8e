"""What the Python calls take, in the form that the rest of the program takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from transferkit.recipe import METHOD_MODELS
from transferkit.runtime.errors import TransferkitError


def named_backbone(
    method: str, backbone: str | nn.Module, preparation: Mapping[str, Any], options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The backbone's name and the options; those of a network of the user's own with its weights.

    Raises:
        TransferkitError: If the network cannot be used, or what it alone can have is given with a name.
    """
    from transferkit.models.backbones import own_modules

    asked = [key for key, value in preparation.items() if value is not None]
    if isinstance(backbone, str):
        if asked:
            raise TransferkitError(
                f"{asked[0]} goes with a network of your own; {backbone} brings its own. Leave it out."
            )
        return backbone, options
    if options.get("weights") is not None:
        raise TransferkitError(
            "A network of your own has its weights already: load others into it before (load_state_dict), and leave "
            "weights out."
        )
    settings = own_modules.give(backbone, options.get("size"), **preparation).settings
    begins_with_them = METHOD_MODELS[method].starts_from_pretrained
    return settings.name, {**options, "weights": settings.weights if begins_with_them else "none"}


def as_path(out: Path | str | None) -> Path | None:
    """A folder as it was given, None for the default one."""
    return None if out is None else Path(out)
