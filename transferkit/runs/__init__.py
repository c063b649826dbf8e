"""A run's folder: what is in it, how it is created, resumed and read, and what the numbered checks find in it."""
