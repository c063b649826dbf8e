"""The parts of `benchmarks/finetune_quality.py`: what is measured, on which images, by which rivals, and the table."""
