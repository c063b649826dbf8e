"""Settings chosen by successive halving on val, and one training with the best of them."""
