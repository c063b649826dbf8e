"""Intervals and tests for accuracies: how sure a number is, and whether two of them differ.

Which question each answers:

- `wilson`, `clopper_pearson`: how far may this accuracy be from that on all images like these?
- `newcombe`: do two accuracies on *different* images differ?
- `paired_bootstrap`, `mcnemar_exact`, `mcnemar_mid_p`: do two models differ on the *same* images?
- `hierarchical_bootstrap`: do two recipes differ, if both the seeds and the images were drawn again?
- `image_bootstrap`: do the models trained so far differ, on other images?
- `mean_accuracy_interval`: how far may the mean accuracy of several models be from that on all images like these?
- `holm`: which of several such answers survive having asked several times?
- `rank_ranges`: which places in an order do the answers that survive leave to each?
"""

from transferkit.statistics.bootstrap import hierarchical_bootstrap, image_bootstrap, paired_bootstrap
from transferkit.statistics.intervals import (
    Difference,
    Interval,
    clopper_pearson,
    mean_accuracy_interval,
    mean_and_sd,
    newcombe,
    wilson,
)
from transferkit.statistics.significance import holm, mcnemar_exact, mcnemar_mid_p, rank_ranges

__all__ = [
    "Difference",
    "Interval",
    "clopper_pearson",
    "hierarchical_bootstrap",
    "holm",
    "image_bootstrap",
    "mcnemar_exact",
    "mcnemar_mid_p",
    "mean_accuracy_interval",
    "mean_and_sd",
    "newcombe",
    "paired_bootstrap",
    "rank_ranges",
    "wilson",
]
