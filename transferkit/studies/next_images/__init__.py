"""Which images to label next: those that many resemble and no labelled image does."""
