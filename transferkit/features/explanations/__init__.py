"""What a prediction rests on: the most similar training images, and heat maps."""
