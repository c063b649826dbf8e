"""What every method gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from transferkit.data.images import Images
from transferkit.metrics.history import History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import OtherResults
from transferkit.runs.facts import ProbeFacts, SettledRates
from transferkit.training import ParameterGroup


def no_others(_images: Images) -> OtherResults:
    """Nothing else was fitted."""
    return OtherResults()


@dataclass(frozen=True)
class Fitted:
    """How a fit went.

    Attributes:
        val: Outputs on val of a classifier that has not learnt from val, though `keep` best has chosen its epoch by
            val; None where there is no val.
        history: Every epoch, after the start as epoch 0; empty for a probe.
        groups: Every stage with its rate.
        probe: What was solved: the probe, or the head that fine-tuning starts from.
        rates: Of a fine-tuning, as its start decided.
        notes: What a reader should know, one line each.
        judge_others: What else was fitted, judged on the test images once they are open.
        train_before_refit: Outputs on some train images of the classifier that gave `val`, where the result is
            another one.
        cross_validated: Outputs on train images of heads that have not learnt from them, where the body is frozen and
            val is small.
        change: What an adapter changed, by name; None where everything was trained.
        chosen_from: How many candidates val chose among, for a soup.
    """

    val: Outputs | None
    groups: Sequence[ParameterGroup]
    history: History = field(default_factory=History)
    probe: ProbeFacts | None = None
    rates: SettledRates | None = None
    notes: Sequence[str] = ()
    judge_others: Callable[[Images], OtherResults] = no_others
    train_before_refit: Outputs | None = None
    cross_validated: Outputs | None = None
    change: Mapping[str, Tensor] | None = None
    chosen_from: int = 0

    @property
    def trained_parameters(self) -> int:
        """How many numbers were trained."""
        return sum(
            group.parameters if group.trained is None else group.trained for group in self.groups if group.is_trained
        )
