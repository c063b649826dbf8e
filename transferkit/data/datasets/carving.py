"""From labelled images and test images to splits, as the settings of every data set say."""

from __future__ import annotations

from transferkit.data.images import Images, Splits, split
from transferkit.recipe import DataSettings


def carved(pool: Images, test: Images, settings: DataSettings) -> Splits:
    """Train and val carved from the pool, test sealed.

    Raises:
        TransferkitError: If the class names of pool and test differ, or a class is left without training image.
    """
    return split(
        pool,
        test,
        val_fraction=settings.val_fraction,
        limit_per_class=settings.limit_per_class,
        seed=settings.carving_seed,
    )
