"""How large a data set is, known without decoding or downloading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outline:
    """What an estimate needs to know of a data set.

    Attributes:
        labelled: Images that become train and val, before any limit.
        tested: Images of test.
        classes: How many.
        px: Side of an image.
    """

    labelled: int
    tested: int
    classes: int
    px: int

    @classmethod
    def divided(cls, images: int, test_fraction: float, classes: int, px: int) -> Outline:
        """Of a data set of which a share becomes test.

        Example:
            >>> Outline.divided(100, 0.2, classes=10, px=8)
            Outline(labelled=80, tested=20, classes=10, px=8)
        """
        tested = round(images * test_fraction)
        return cls(images - tested, tested, classes, px)
