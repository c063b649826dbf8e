"""Whether a result comes out again."""
