"""What work costs before it starts: time and memory from one timed step, downloads, and what a dry run sees."""

from transferkit.training.estimates.announcement import announce, before_ranking, before_run, before_study
from transferkit.training.estimates.inputs import inputs_in_words, require_runnable, require_weights, resolved_as_run
from transferkit.training.estimates.totals import in_all
from transferkit.training.estimates.work import as_after, estimate, fit_seconds, of_ranking, of_study

__all__ = [
    "announce",
    "as_after",
    "before_ranking",
    "before_run",
    "before_study",
    "estimate",
    "fit_seconds",
    "in_all",
    "inputs_in_words",
    "of_ranking",
    "of_study",
    "require_runnable",
    "require_weights",
    "resolved_as_run",
]
