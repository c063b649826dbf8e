"""Questions a user types: compare, folds, rank, limits, labels, lab, next_images, soup, tune, lr_find, verify."""
