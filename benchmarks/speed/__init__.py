"""Speeds as ratios of turns, which a busy machine disturbs alike, and the machine that they were measured on."""
