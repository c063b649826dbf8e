"""Questions that take several runs: comparisons, label curves, rankings."""
