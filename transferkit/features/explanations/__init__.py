"""What a prediction rests on: neighbours, heat maps, and a map of the features."""
