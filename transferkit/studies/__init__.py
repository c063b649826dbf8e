"""Questions a user types: compare (and label curves), folds, rank, limits, labels, lab, soup, tune, lr_find, verify."""
