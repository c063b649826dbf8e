"""A run's folder: what is in it, how it is created, resumed and read."""
