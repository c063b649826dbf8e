"""How good is a method on few images: every labelled image predicted once, by a model that has not seen it."""
