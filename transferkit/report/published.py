"""Published CIFAR-10 accuracies of the same backbones, to stand beside a run whose data and weights match."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.models.stored_model import WeightsRecord
from transferkit.recipe import Recipe


@dataclass(frozen=True)
class Published:
    """A range of published accuracies on CIFAR-10 with all 50,000 labels, in per cent."""

    low: float
    high: float
    source: str

    @property
    def range(self) -> str:
        """As printed, in per cent."""
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"


_READ = "range over the published results collected for this project"

# Every entry was read in its source. Entries known only from memory are left out.
CIFAR10: dict[tuple[str, str], Published] = {
    ("probe", "alexnet"): Published(81, 84, _READ),
    ("probe", "vgg16"): Published(82, 82, _READ),
    ("probe", "resnet50"): Published(91.5, 91.5, "ssl-transfer"),
    ("finetune", "alexnet"): Published(88.9, 93.0, _READ),
    ("finetune", "vgg16"): Published(92.2, 92.2, f"{_READ}; with a poor learning rate"),
    ("finetune", "resnet18"): Published(93.8, 95.7, _READ),
    ("finetune", "resnet34"): Published(96.1, 96.1, _READ),
    ("finetune", "resnet50"): Published(96.3, 96.8, "SFDA; Transfer-Learning-Library"),
    ("finetune", "resnet101"): Published(97.4, 97.7, _READ),
    ("finetune", "resnet152"): Published(97.5, 97.9, _READ),
    ("scratch", "alexnet"): Published(76, 77, f"{_READ}; CIFAR variant"),
    ("scratch", "vgg16"): Published(92.6, 94.3, f"{_READ}; CIFAR variant"),
    ("scratch", "resnet18"): Published(95.0, 96.0, f"{_READ}; CIFAR variant"),
    ("scratch", "resnet18-cifar"): Published(95.0, 96.0, _READ),
    ("scratch", "vgg11-cifar"): Published(92.4, 92.4, _READ),
    ("scratch", "lenet"): Published(64, 74, f"{_READ}; networks like LeNet"),
    ("scratch", "resnet20"): Published(91.25, 91.25, "He et al. 2016, table 6, about 164 epochs"),
    ("scratch", "resnet56"): Published(93.03, 93.03, "He et al. 2016, table 6, about 164 epochs"),
    ("scratch", "resnet34"): Published(95.6, 95.6, f"{_READ}; CIFAR variant"),
    ("scratch", "resnet50"): Published(95.6, 95.6, f"{_READ}; CIFAR variant"),
}


def published(recipe: Recipe | None, weights: WeightsRecord | None) -> Published | str:
    """The published range for the same backbone, method, data and weights, or the reason why there is none."""
    if recipe is None:
        return "Published figures are those of one data set, method and backbone; this run's recipe is not there."
    data, backbone, method = recipe.data, recipe.backbone.name, recipe.method.name
    source, tag = (weights.source, weights.tag) if weights else ("", "")
    if getattr(recipe.method, "classifier", "linear") != "linear":
        return "Published figures of frozen networks are those of linear probes; this run used another classifier."
    if data.name != "cifar10":
        return "Published figures are shown for the official CIFAR-10 files only; this run used other images."
    if data.limit_per_class is not None:
        return "Published figures use all 50,000 labels; this run was limited to fewer."
    if method == "scratch" and source != "none":
        return "Published figures from scratch start from random weights; this run did not."
    if method != "scratch" and not (source == "torchvision" and "IMAGENET1K_V1" in tag):
        return "Published figures are shown for torchvision's IMAGENET1K_V1 weights only; this run used others."
    missing = f"No published figure for {backbone} with {method} has been read in its source yet."
    return CIFAR10.get((method, backbone), missing)
