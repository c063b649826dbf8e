"""Features of any number of images into one file: streamed, resumed after a kill, split into shards, merged."""
