"""Intervals and tests for accuracies: how sure a number is, and whether two of them differ.

Which question each answers:

- `wilson`, `clopper_pearson`: how far may this accuracy be from that on all images like these?
- `newcombe`: do two accuracies on *different* images differ?
- `paired_difference`: do two arms differ on the *same* images; the models trained so far, or those of other seeds too?
- `mean_accuracy_interval`: how far may the mean accuracy of several models be from that on all images like these?
- `mean_accuracy_interval_over_seeds`: how far from that of all trainings like these, on all images like these?
- `mcnemar_mid_p`: is one set of answers oftener right than another, where only the counts are left?
- `fisher_lower_p`, `grouped_lower_p`: are some images right less often than the others?
- `holm`: which of several such answers survive having asked several times?
- `rank_ranges`: which places in an order do the answers that survive leave to each?
"""

from transferkit.metrics.statistics.intervals import (
    Bounds,
    Difference,
    Interval,
    clopper_pearson,
    independent_difference,
    mean_accuracy_interval,
    mean_accuracy_interval_over_seeds,
    mean_and_sd,
    mean_share_interval,
    newcombe,
    widened_by_seeds,
    wilson,
)
from transferkit.metrics.statistics.paired_difference import (
    Over,
    PairedDifference,
    cross_validation_dependence,
    paired_difference,
)
from transferkit.metrics.statistics.significance import (
    fisher_lower_p,
    grouped_lower_p,
    holm,
    mcnemar_mid_p,
    rank_ranges,
)
from transferkit.metrics.statistics.units import Units

__all__ = [
    "Bounds",
    "Difference",
    "Interval",
    "Over",
    "PairedDifference",
    "Units",
    "clopper_pearson",
    "cross_validation_dependence",
    "fisher_lower_p",
    "grouped_lower_p",
    "holm",
    "independent_difference",
    "mcnemar_mid_p",
    "mean_accuracy_interval",
    "mean_accuracy_interval_over_seeds",
    "mean_and_sd",
    "mean_share_interval",
    "newcombe",
    "paired_difference",
    "rank_ranges",
    "widened_by_seeds",
    "wilson",
]
