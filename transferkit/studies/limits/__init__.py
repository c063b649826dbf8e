"""Where not to trust a model: what its run, unknown images, other images and changed images say about it."""
