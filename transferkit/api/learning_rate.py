"""The Python call that looks for a learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from transferkit.api.arguments import OwnPreparation, as_path, named_backbone
from transferkit.recipe import from_options
from transferkit.runtime.argument_types import typed
from transferkit.runtime.console import Console
from transferkit.runtime.files import claim, write_text
from transferkit.studies.lr_find.rate_range import RateRange


@typed
def lr_find(
    backbone: str | nn.Module,
    data: Any = "cifar10",
    *,
    stages: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> RateRange:
    """Find a learning rate for fine-tuning by a short training at rising rates; `transferkit lr-find` in Python.

    Args:
        backbone: As for `transferkit.finetune`; no weights of it are changed.
        data: As for `transferkit.finetune`; train alone is looked at.
        stages: Of a network of your own, as for `transferkit.finetune`.
        mean: Likewise.
        std: Likewise.
        out: The page with the curve; None writes none.
        overwrite: Replace a page that is there.
        quiet: Print nothing.
        **options: Any key of the recipe of `transferkit.finetune`: `size=64, optimizer="sgd"` ...

    Returns:
        The suggestions `valley` and `steepest`, the `default` of `finetune`, and the curve: `losses` over `rates`.

    Raises:
        TransferkitError: For wrong options or data, a page that is there, or a loss that diverges at once.
    """
    from transferkit.features.data_arguments import as_named
    from transferkit.studies.lr_find.page import rate_page
    from transferkit.studies.lr_find.rate_range import find_rate

    page = as_path(out)
    name, weights = named_backbone("finetune", backbone, OwnPreparation(stages, mean, std), options)
    shared = {**options, "weights": weights}
    recipe = from_options("finetune", name, as_named(data), shared, (), "transferkit lr-find")
    console = Console(quiet=quiet)
    with claim(page, overwrite):
        rate_range = find_rate(recipe, console)
        console.result(*rate_range.lines)
        if page is not None:
            write_text(page, rate_page(rate_range, "transferkit.lr_find(...)"))
    return rate_range
