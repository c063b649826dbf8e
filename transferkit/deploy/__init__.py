"""A finished run at work: predictions, and files for other programs."""
