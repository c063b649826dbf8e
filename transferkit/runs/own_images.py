"""The images that a finished run was made with, loaded again, and whether its network can be judged on val."""

from __future__ import annotations

from transferkit.data import datasets
from transferkit.data.images import Images, SealedImages, Splits
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError


def same_images(run: Run, console: Console) -> Splits:
    """The run's images, loaded again as its recipe says.

    Raises:
        TransferkitError: If a part has other images, labels or classes than when the run was made.
    """
    splits = datasets.load(run.recipe.data, console)
    expected = vars(run.facts.data.fingerprint)
    parts: dict[str, Images | SealedImages] = {"train": splits.train, "val": splits.val, "test": splits.test}
    changed = [name for name, part in parts.items() if not part.is_known_as(expected[name])]
    if changed:
        raise TransferkitError(
            f"The {' and '.join(changed)} images are not those that {run.path} was made with: files of "
            f"{run.recipe.title}'s data were added, removed or changed since. Restore them, or make the run again."
        )
    return splits


def why_no_val(run: Run, splits: Splits) -> str:
    """Why the network cannot be judged on val; empty where it can."""
    if not len(splits.val):
        return "the run has no val images"
    method = run.recipe.method
    learnt = bool(getattr(method, "refit", False)) and not method.keeps_body  # a probe's features stay the same
    return "the result has learnt from the val images too" if learnt else ""
