"""What networks say of images: layers, one store, extraction to files, explanations."""
