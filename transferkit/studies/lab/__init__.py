"""Small experiments that show how convolutional networks work."""
