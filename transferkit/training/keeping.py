"""Which epoch's weights are the result: those of the last one, or those that were best on val."""

from __future__ import annotations

from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.runtime.errors import TransferkitError
from transferkit.training.checkpoint import Training


def require_choice(keep: str, val_images: int) -> None:
    """Refuse to choose an epoch by val where val cannot tell.

    Raises:
        TransferkitError: Says how many val images there are and how many it takes.
    """
    if keep == "best" and val_images < FEWEST_TO_CHOOSE:
        raise TransferkitError(
            f"--keep best chooses the epoch on the val images, of which there are {val_images:,}: fewer than "
            f"{FEWEST_TO_CHOOSE} choose by chance. Use --keep last, or set more aside with --val-fraction."
        )


def note_best(training: Training, keep: str) -> None:
    """Remember the weights that would be the result now, where the last epoch is the best one and that counts."""
    if keep == "best" and training.history.best is training.history.last:
        weights = training.classifier.state_dict() if training.average is None else training.average
        training.best = {name: value.clone() for name, value in weights.items()}


def take_result(training: Training, keep: str) -> None:
    """Give the classifier the weights that are the result, and mark the epoch they are from as `kept`."""
    weights = training.best if keep == "best" else training.average
    if weights is not None:
        training.classifier.load_state_dict(weights)
    history = training.history
    training.history = history.keeping(history.best if keep == "best" else history.last)
