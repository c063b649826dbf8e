"""The model card of a run, as the Hugging Face hub shows it: what it is, how good, what it must not be used for."""
