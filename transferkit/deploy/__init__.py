"""A finished run at work: predictions, a server, and files for other programs."""
