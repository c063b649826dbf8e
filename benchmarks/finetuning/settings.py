"""What is measured: the list of settings. To extend the bench, add a line here; nothing else has to change."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Setting:
    """One row of the table: a target, a backbone, and what every arm may spend.

    Attributes:
        name: Of the row.
        target: One of `targets.TARGETS`.
        backbone: One of `networks.BACKBONES`.
        labels: Per class, train and val together; None for all there are.
        size_px: Side of the network's input.
        epochs: Of every arm that trains; fastai's frozen epoch comes on top, as in fastai.
        test: Test images at most, the same number of each class.
        rarest: Labels of the rarest class as a share of `labels`; below 1, class k of K has labels x rarest^(k/(K-1)).
        flip: Whether images are mirrored in training; not where a mirrored image is another class.
        note: What a reader of the row must know.
    """

    name: str
    target: str
    backbone: str
    labels: int | None
    size_px: int
    epochs: int
    test: int = 2_000
    rarest: float = 1.0
    flip: bool = True
    note: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Eight hex digits over everything that decides the result."""
        values = {name: value for name, value in asdict(self).items() if name not in ("name", "note")}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]

    def labels_of(self, position: int, classes: int) -> int | None:
        """Labels of the class at this position; None for all there are."""
        if self.labels is None or self.rarest == 1:
            return self.labels
        return max(2, round(self.labels * self.rarest ** (position / (classes - 1))))


KNOWN = "ImageNet weights have most likely seen these images, with their labels"
PUPIL = "weights of some minutes, see stand_ins.py"

QUICK = (
    Setting("cifar10 50 resnet18", "cifar10", "resnet18", 50, 64, 6),
    Setting("cifar10 500 resnet18", "cifar10", "resnet18", 500, 64, 2),
    Setting("cifar10 50 lite0", "cifar10", "lite0", 50, 64, 6),
    Setting("cifar10 200 lite0", "cifar10", "lite0", 200, 64, 2),
    Setting("tiny-imagenet 10 lite0", "tiny-imagenet", "lite0", 10, 64, 2, test=2_020, note=KNOWN),
    Setting("textures 40 resnet18", "textures", "resnet18", 40, 64, 6),
    Setting("shapes 80 lite0", "shapes", "lite0", 80, 64, 4),
    Setting("cifar10 imbalanced vgg11", "cifar10", "vgg11", 100, 32, 8, rarest=0.05, note=PUPIL),
)
FULL = (
    Setting("cifar10 10 resnet18", "cifar10", "resnet18", 10, 64, 20, test=10_000),
    Setting("cifar10 50 resnet18", "cifar10", "resnet18", 50, 64, 10, test=10_000),
    Setting("cifar10 500 resnet18", "cifar10", "resnet18", 500, 64, 4, test=10_000),
    Setting("cifar10 all resnet18", "cifar10", "resnet18", None, 64, 3, test=10_000),
    Setting("cifar10 10 lite0", "cifar10", "lite0", 10, 96, 20, test=10_000),
    Setting("cifar10 50 lite0", "cifar10", "lite0", 50, 96, 10, test=10_000),
    Setting("cifar10 500 lite0", "cifar10", "lite0", 500, 96, 3, test=10_000),
    Setting("cifar10 50 lite1", "cifar10", "lite1", 50, 96, 10, test=10_000),
    Setting("cifar10 imbalanced lite0", "cifar10", "lite0", 100, 96, 8, test=10_000, rarest=0.05),
    Setting("cifar10 imbalanced resnet18", "cifar10", "resnet18", 100, 64, 8, test=10_000, rarest=0.05),
    Setting("cifar10 50 vgg11", "cifar10", "vgg11", 50, 32, 10, test=10_000, note=PUPIL),
    Setting("cifar10 500 vgg11", "cifar10", "vgg11", 500, 32, 4, test=10_000, note=PUPIL),
    Setting("cifar10 50 alexnet", "cifar10", "alexnet", 50, 64, 10, test=10_000, note=PUPIL),
    Setting("tiny-imagenet 20 classes lite0", "tiny-imagenet-20", "lite0", 25, 64, 6, note=KNOWN),
    Setting("tiny-imagenet lite1", "tiny-imagenet", "lite1", 25, 64, 4, test=5_050, note=KNOWN),
    Setting("textures 60 resnet18", "textures", "resnet18", 60, 64, 10),
    Setting("textures 60 lite0", "textures", "lite0", 60, 96, 10),
    Setting("shapes 80 resnet18", "shapes", "resnet18", 80, 64, 10),
    Setting("shapes 80 lite0", "shapes", "lite0", 80, 96, 10),
    Setting("digits 40 resnet18", "digits", "resnet18", 40, 64, 10, flip=False),
)
LISTS = {"quick": (QUICK, 2), "full": (FULL, 3)}  # settings and seeds
