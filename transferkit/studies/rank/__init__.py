"""Which backbone to choose: each by its probe on the same training images."""
