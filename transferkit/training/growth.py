"""Images that grow while a network trains: small ones in the first epochs, those of the result's size in the last."""

from __future__ import annotations

from transferkit.models.classifier import Classifier, measured_width
from transferkit.runtime.errors import TransferkitError

FULL_FROM = 0.75  # of the steps at the latest, so that BatchNorm has met images of the last size when it ends
MULTIPLE_PX = 16  # between first and last, so that strides leave whole maps
EPOCHS_UNKNOWN = 20  # that a length in steps or seconds counts as, for what it costs


def epoch_px(first_px: int, last_px: int, step: int, total_steps: int, steps_per_epoch: int) -> int:
    """The side of the images of the epoch that begins after so many steps; 0 as the first side is none.

    It grows evenly, in steps of 16 px, and is the last one from three quarters of the training on, and in the last
    epoch.

    Example:
        >>> [epoch_px(96, 160, step, 100, 10) for step in range(0, 100, 10)]
        [96, 96, 112, 112, 128, 128, 144, 144, 160, 160]
        >>> epoch_px(96, 160, 0, 10, 10), epoch_px(0, 160, 0, 100, 10)
        (160, 160)
    """
    growing = min(FULL_FROM * total_steps, total_steps - steps_per_epoch)
    if not first_px or step >= growing:
        return last_px
    grown = (last_px - first_px) * step / growing
    return min(last_px, first_px + int(grown) // MULTIPLE_PX * MULTIPLE_PX)


def cost_share(first_px: int, last_px: int, epochs: int | None) -> float:
    """What a step costs on average, as a share of one at the last side: pixels count.

    Example:
        >>> round(cost_share(96, 160, 10), 2), cost_share(0, 160, 10)
        (0.66, 1.0)
    """
    count = epochs or EPOCHS_UNKNOWN
    sides = [epoch_px(first_px, last_px, epoch, count, 1) for epoch in range(count)]
    return sum((side / last_px) ** 2 for side in sides) / count


def require_growth(classifier: Classifier, first_px: int | None) -> None:
    """Refuse to grow from a side that the network cannot take, or that is no smaller one.

    Raises:
        TransferkitError: Says at which side it fails.
    """
    last_px = classifier.input_spec.size
    if not first_px:
        return
    if first_px >= last_px:
        raise TransferkitError(
            f"start_size {first_px} is not below size {last_px}. Images grow from the first to the last."
        )
    for side in (*range(first_px, last_px, MULTIPLE_PX), last_px):
        try:
            width = measured_width(classifier.body, side)
        except TransferkitError as error:
            raise TransferkitError(f"Images cannot grow from {first_px} to {last_px} px: {error}") from error
        if width != classifier.num_features:
            raise TransferkitError(
                f"Images cannot grow from {first_px} to {last_px} px: this network gives {width} features at {side} px "
                f"and {classifier.num_features} at {last_px} px. Use one --size."
            )
