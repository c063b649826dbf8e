"""Features of images: extracting, storing and reusing them."""
