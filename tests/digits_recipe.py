"""A recipe on scikit-learn's digits that runs in seconds."""

from __future__ import annotations

from transferkit.recipe import Recipe, from_options


def digits(method: str = "finetune", backbone: str = "resnet-mini", **options: object) -> Recipe:
    chosen = {"weights": "none", "limit_per_class": 8, "test_fraction": 0.1, "threads": 1, **options}
    if method != "probe":
        chosen = {"epochs": 2, "batch_size": 32, **chosen}
    return from_options(method, backbone, "digits", chosen, ())
