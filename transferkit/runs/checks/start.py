"""What is seen of a training when it starts."""

from __future__ import annotations

import math

from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.runs.checks.finding import Observation
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runtime.plurals import counted

# First loss less ln C of fifteen networks with random weights, two seeds each, 128 digits and 130 images of CIFAR-10:
# between -0.08 and 0.47, but up to 1.27 for resnet56, whose shortcuts add up. Logits of a random head that vary with
# standard deviation s give about ln C + s^2 / 2; two nats more are s = 2.
FAR = 2.0
OTHER_SIZE = 2.0  # times as large or as small as the weights were made for


def first_loss_far(run: CheckedRun) -> Observation | None:
    """Before the first step the loss of a random head is less than half of ln C, or more than 2 above it.

    A head that knows nothing yet answers each of C classes alike, which costs ln C. More means logits that are too
    large; less means that labels follow from something else than the images, or that the weights know these classes.
    """
    first = run.facts.start.first_loss if run.facts else None
    if first is None or not math.isfinite(first.loss):
        return None
    chance = math.log(first.classes)
    if chance / 2 <= first.loss <= chance + FAR:
        return None
    observed = (
        f"before the first step the loss is {first.loss:.2f}; a head that knows nothing yet "
        f"gives about ln C = {chance:.2f}"
    )
    if first.loss > chance:
        advice = "the logits are too large: expect wasted steps, and try a smaller --lr, or --clip-norm 1"
        return Observation(observed, advice, run.again("method.clip_norm=1"))
    return Observation(
        observed, "do the labels follow from something else than the images, or do the weights know them"
    )


def mirror_images_lose(run: CheckedRun) -> Observation | None:
    """Val images lose more accuracy than chance explains when they are mirrored, and training mirrors images.

    Asked of the classifier that fine-tuning starts from, on at most 2,000 val images: a network that has learnt from
    mirrored images answers alike for both.
    """
    loss = run.facts.start.mirroring if run.facts else None
    if loss is None or loss.low <= 0:
        return None
    observed = (
        f"mirrored val images lose {100 * loss.difference:.1f} points of accuracy before training "
        f"({100 * loss.low:.1f} to {100 * loss.high:.1f}), and training mirrors images"
    )
    return Observation(observed, "if a mirror image is of another class, use --no-flip", run.again("method.flip=false"))


def other_size(run: CheckedRun) -> Observation | None:
    """The input is less than half, or more than twice, the size that the pretrained weights were made for.

    Features fit objects of the size that they were learnt from. Silent where the size was not asked for, and where
    nobody has stated what the weights were made for.
    """
    if run.facts is None or run.facts.input_px is None or run.facts.weights_px is None:
        return None
    px, made_for = run.facts.input_px, run.facts.weights_px
    if run.facts.input_reason != "as asked" or made_for / OTHER_SIZE <= px <= made_for * OTHER_SIZE:
        return None
    observed = f"the weights were made for images of {made_for} px, and see them at {px} px"
    return Observation(observed, "let weights and images decide the size", run.again("method.size=auto"))


def chosen_by_few(run: CheckedRun) -> Observation | None:
    """Runs were chosen for a soup on fewer than 500 val images, so by chance.

    An accuracy of 90 % on 500 images has a standard error of 1.3 points; the runs of one recipe differ by about as
    much. The mean of all of them needs no choice.
    """
    if run.facts is None or run.facts.chosen_from < 2 or run.facts.data.n.val >= FEWEST_TO_CHOOSE:
        return None
    observed = (
        f"{counted(run.facts.data.n.val, 'val image')} chose among {run.facts.chosen_from} runs, where "
        f"{FEWEST_TO_CHOOSE} can"
    )
    return Observation(observed, "take the mean of all of them: leave out --greedy")
