"""Which epoch's weights are the result, the last one's or those that were best on val; and when val says to stop."""

from __future__ import annotations

from transferkit.metrics.history import FEWEST_TO_CHOOSE, History
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.training.checkpoint import Training
from transferkit.training.resolved import ResolvedTraining


def require_choice(keep: str, val_images: int, patience: int | None = None) -> None:
    """Refuse to choose an epoch by val where val cannot tell.

    Raises:
        TransferkitError: Says how many val images there are and how many it takes.
    """
    if (keep == "best" or patience) and val_images < FEWEST_TO_CHOOSE:
        asked, instead = (f"--patience {patience}", "no --patience") if patience else ("--keep best", "--keep last")
        raise TransferkitError(
            f"{asked} chooses the epoch on the val images, of which there are {val_images:,}: fewer than "
            f"{FEWEST_TO_CHOOSE} choose by chance. Use {instead}, or set more aside with --val-fraction."
        )


def is_stopped(history: History, settings: ResolvedTraining) -> bool:
    """Whether the training ends before its length: val has not been better for too long, or enough epochs are made."""
    epochs = history.last.epoch if history.last else 0
    if settings.stop_after:
        return epochs >= settings.stop_after
    return bool(settings.patience and history.best and epochs - history.best.epoch >= settings.patience)


def stop_in_words(history: History, settings: ResolvedTraining) -> str:
    """That a training ended early, and which epoch is the result; empty where it did not."""
    best, last = history.best, history.last
    if not settings.patience or best is None or last is None or not is_stopped(history, settings):
        return ""
    result = f"epoch {best.epoch}" if best.epoch else "the start"
    patience = counted(settings.patience or 0, "epoch")
    accuracy = f"{100 * (best.val_accuracy or 0.0):.1f} %"
    return (
        f"stopped after epoch {last.epoch}: val was not better for {patience} (--patience {settings.patience}); "
        f"best on val is {result}, {accuracy}"
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
