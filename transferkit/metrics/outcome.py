"""What a fit achieved: against its own start on val, and against always giving the same answer on test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.metrics.classification import confusion_matrix
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import Commonest, JudgedEpoch, SinceStart
from transferkit.metrics.statistics import mcnemar_mid_p

ALPHA = 0.05  # level of each of the two tests, which answer two questions


def since_start(history: History) -> SinceStart | None:
    """How the result stands to the weights that training began with, on the same val images.

    The result is the epoch marked `is_result`. Where that one had learnt from val as well, it cannot be judged on val:
    then the epoch that it repeats stands in for it, and the answer's `is_result` is false. Accuracies are compared; the
    p-value is McNemar's (mid-p), from the images gained and lost.

    Returns:
        None where there was no start to judge: a probe, no val images, a run of an earlier version.
    """
    judged = [_judged(epoch, epoch.val_accuracy) for epoch in history if epoch.val_accuracy is not None]
    if len(judged) < 2 or judged[0].epoch != 0:
        return None
    result, end = history.result, _stand_in(history)
    by_number = {epoch.epoch: epoch for epoch in judged}
    start, best = judged[0], by_number[history.best.epoch] if history.best else judged[0]
    gained, lost = end.val_gained or 0, end.val_lost or 0
    p = mcnemar_mid_p(gained, lost)
    return SinceStart(
        n=end.val_images or 0,
        start=start,
        end=by_number[end.epoch],
        is_result=result is None or result is end,
        best=best,
        gained=gained,
        lost=lost,
        p=p,
        is_worse=by_number[end.epoch].accuracy < start.accuracy,
        is_shown=p <= ALPHA,
    )


def _stand_in(history: History) -> Epoch:
    """The epoch that says on val what the result is worth: itself, or that of the first training that it repeats.

    A second training, on val too, is as long as the first one; with patience, as long as that was until its best epoch.
    """
    last, best, result = history.judged[-1], history.best, history.result
    if result is None or best is None:
        return last
    if result.val_accuracy is not None:
        return result
    return best if best.epoch == result.epoch - last.epoch else last


def _judged(epoch: Epoch, accuracy: float) -> JudgedEpoch:
    return JudgedEpoch(epoch.epoch, accuracy, epoch.val_loss)


def against_commonest(test: Outputs) -> Commonest | None:
    """Whether the model is shown to be better than always answering the commonest class of these images.

    McNemar's test (mid-p) on the same images. Where several classes are equally common, the one counts against which
    the model shows least.

    Returns:
        None where all images are of one class, so that nothing can be better.
    """
    confusion = confusion_matrix(test)
    counts, right = confusion.sum(axis=1), np.diag(confusion)
    if (counts > 0).sum() < 2:
        return None
    rivals = [_against(int(label), counts, right, test.class_names) for label in np.flatnonzero(counts == counts.max())]
    return max(rivals, key=lambda rival: rival.p)


def _against(label: int, counts: Any, right: Any, names: Sequence[str]) -> Commonest:
    only_model, only_answer = int(right.sum() - right[label]), int(counts[label] - right[label])
    p = mcnemar_mid_p(only_model, only_answer)
    return Commonest(
        class_name=names[label],
        accuracy=float(counts[label] / counts.sum()),
        only_model=only_model,
        only_answer=only_answer,
        p=p,
        is_beaten=only_model > only_answer and p <= ALPHA,
    )
