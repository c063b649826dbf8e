"""Images: data sets, decoding, batches, corruptions, and finding the same image twice."""
