"""Who says which setting is tried next, and which goes on: the grid itself, or Optuna's TPE sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transferkit.recipe import DEFAULT, TuningRecipe
from transferkit.runtime import optional_libraries
from transferkit.studies.tune.halving import Rung, best_first
from transferkit.studies.tune.results import Trial
from transferkit.studies.tune.space import points

Measure = Callable[[Sequence[Mapping[str, Any]], Rung], list[Trial]]  # of settings that may be tried at once
Search = Callable[[TuningRecipe, Mapping[str, Sequence[Any]], Sequence[Rung], Measure], list[Trial]]


def search_grid(
    tuning: TuningRecipe, space: Mapping[str, Sequence[Any]], rungs: Sequence[Rung], measure: Measure
) -> list[Trial]:
    """Every setting at the first length, and at each longer one those that were best at the one before."""
    settings, trials = points(tuning, space), []
    for rung in rungs:
        tried = measure(settings[: rung.settings], rung)
        settings = best_first(settings[: rung.settings], [trial.badness for trial in tried])
        trials += tried
    return trials


def search_by_optuna(
    tuning: TuningRecipe, space: Mapping[str, Sequence[Any]], rungs: Sequence[Rung], measure: Measure
) -> list[Trial]:
    """As many proposals as the first length has settings, each going on where Optuna's successive halving says so.

    Akiba et al. 2019 (arXiv:1907.10902): the tree-structured Parzen estimator of Bergstra et al. 2011, and asynchronous
    successive halving (Li et al. 2020, arXiv:1810.05934). A proposal that was measured before costs nothing.
    """
    optuna = optional_libraries.optuna()
    measured: dict[str, Trial] = {}

    def objective(proposal: Any) -> float:
        chosen = {key: values[proposal.suggest_categorical(key, range(len(values)))] for key, values in space.items()}
        values = {key: value for key, value in chosen.items() if value != DEFAULT}
        trial = None
        for rung in rungs:
            trial = measured.setdefault(f"{values}{rung.number}", measure([values], rung)[0])
            proposal.report(_score(trial), step=tuning.eta**rung.number)
            if proposal.should_prune():
                raise optuna.TrialPruned
        assert trial is not None  # there is at least one rung
        return _score(trial)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=tuning.eta)
    sampler = optuna.samplers.TPESampler(seed=tuning.base.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=rungs[0].settings)
    return list(measured.values())


def _score(trial: Trial) -> float:
    """Higher is better; a training that came to no end is worse than any."""
    return -1.0 if trial.accuracy is None else trial.accuracy


SEARCHES: dict[str, Search] = {"grid": search_grid, "optuna": search_by_optuna}
