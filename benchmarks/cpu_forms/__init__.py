"""Other forms of a network that were measured and not built."""
