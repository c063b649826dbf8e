"""Whether the labels can be trusted."""
