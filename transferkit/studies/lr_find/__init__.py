"""A learning rate for fine-tuning, from one short training at rising rates."""
