"""Which images to label next: like many that no labelled image is like, and of which the model is unsure."""
