"""Which method and which backbone is better here: several runs on the same images, one verdict."""
