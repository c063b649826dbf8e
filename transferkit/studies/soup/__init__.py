"""Whether several seeds of one recipe are better as one network: the mean of their weights."""
