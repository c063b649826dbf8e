"""Published numbers on CIFAR-10, to stand beside a run's own, and why the two may differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from transferkit.metrics.classification import accuracy
from transferkit.studies.limits.subject import LimitsSubject

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class PublishedCorruptions:
    """Accuracies of a known network on corrupted images; `mca` is their mean over corruptions and severities."""

    source: str
    clean: float
    mca: float
    by_severity: dict[int, float]
    by_corruption: dict[str, float]


@dataclass(frozen=True)
class PublishedMeans:
    """Mean AUROCs by score over near and over far sets."""

    source: str
    near: dict[str, float]
    far: dict[str, float]


@dataclass(frozen=True)
class PublishedSet:
    """AUROCs by score on one set."""

    set: str
    auroc: dict[str, float]


@dataclass(frozen=True)
class PublishedUnknown:
    """What others measured on unknown images, by the names of our sets too, and why ours may differ."""

    source: str
    near: dict[str, float]
    far: dict[str, float]
    by_set: dict[str, PublishedSet]
    differences: tuple[str, ...]


# Standard WRN-28-10 on the authors' CIFAR-10-C files, mean accuracy over severities; RobustBench model zoo.
CORRUPTIONS = PublishedCorruptions(
    source="standard WRN-28-10 trained on CIFAR-10, on the authors' CIFAR-10-C files (RobustBench)",
    clean=0.9478,
    mca=0.7346,
    by_severity={1: 0.869, 2: 0.813, 3: 0.749, 4: 0.676, 5: 0.565},
    by_corruption={
        "gaussian_noise": 0.470,
        "shot_noise": 0.588,
        "impulse_noise": 0.553,
        "defocus_blur": 0.815,
        "glass_blur": 0.510,
        "motion_blur": 0.777,
        "zoom_blur": 0.756,
        "snow": 0.819,
        "frost_synthetic": 0.750,  # with photographs of frost there
        "fog": 0.888,
        "brightness": 0.933,
        "contrast": 0.826,
        "elastic_transform": 0.838,
        "pixelate": 0.720,
        "jpeg_compression": 0.776,
    },
)

# OpenOOD v1.5, results/cifar10.csv: means over three seeds.
MEANS = PublishedMeans(
    source="ResNet-18 from scratch, 95 % on CIFAR-10 (OpenOOD v1.5); near: CIFAR-100 and Tiny ImageNet; "
    "far: MNIST, SVHN, textures and Places365",
    near={
        "msp": 0.8803,
        "maxlogit": 0.8752,
        "energy": 0.8758,
        "gen": 0.8820,
        "knn": 0.9064,
        "mds": 0.8420,
        "rmds": 0.8980,
        "vim": 0.8868,
        "react": 0.8711,
        "she": 0.8154,
    },
    far={
        "msp": 0.9073,
        "maxlogit": 0.9110,
        "energy": 0.9121,
        "gen": 0.9135,
        "knn": 0.9296,
        "mds": 0.8972,
        "rmds": 0.9220,
        "vim": 0.9348,
        "react": 0.9042,
        "she": 0.8532,
    },
)

# The same runs by set, figures/cifar10.png of BierOne/ood_coverage; of the near sets only the mean was read.
BY_SET = {
    "mnist": {"msp": 0.9263, "maxlogit": 0.9415, "energy": 0.9432, "gen": 0.9383, "knn": 0.9426, "mds": 0.9010}
    | {"rmds": 0.9322, "vim": 0.9476, "react": 0.9281, "she": 0.9043},
    "svhn": {"msp": 0.9146, "maxlogit": 0.9169, "energy": 0.9179, "gen": 0.9197, "knn": 0.9267, "mds": 0.9118}
    | {"rmds": 0.9184, "vim": 0.9450, "react": 0.8912, "she": 0.8638},
    "textures": {"msp": 0.8989, "maxlogit": 0.8941, "energy": 0.8947, "gen": 0.9014, "knn": 0.9316, "mds": 0.9269}
    | {"rmds": 0.9223, "vim": 0.9515, "react": 0.8938, "she": 0.8157},
    "places365": {"msp": 0.8892, "maxlogit": 0.8914, "energy": 0.8925, "gen": 0.8946, "knn": 0.9177, "mds": 0.8490}
    | {"rmds": 0.9151, "vim": 0.8949, "react": 0.9035, "she": 0.8289},
}
STARTS = {"mnist": "mnist", "svhn": "svhn", "textures": "textures", "dtd": "textures", "places": "places365"}
CIFAR10_ACCURACY, CIFAR10_TRAIN = 0.9506, 50_000
SAME_ACCURACY = 0.01
JPEG = (".jpg", ".jpeg")


def is_cifar10(subject: LimitsSubject) -> bool:
    """Whether the published rows show the same task."""
    return subject.test.class_names == CIFAR10 and subject.side_px == 32


def published_report(names: Sequence[str], subject: LimitsSubject) -> PublishedUnknown:
    """OpenOOD's means, its rows for sets of the same name, and why ours may differ."""
    by_set = {name: row for name in names if (row := of_set(name))}
    return PublishedUnknown(MEANS.source, MEANS.near, MEANS.far, by_set, tuple(differences_from_published(subject)))


def of_set(name: str) -> PublishedSet | None:
    """The published AUROCs of the set that a name seems to mean, by score; None for any other set.

    Example:
        >>> of_set("SVHN-test").set, of_set("stones")
        ('svhn', None)
    """
    plain = name.lower().replace("_", "-")
    published_name = next((known for start, known in STARTS.items() if plain.startswith(start)), None)
    return None if published_name is None else PublishedSet(published_name, BY_SET[published_name])


def differences_from_published(subject: LimitsSubject) -> list[str]:
    """Why this run's numbers may lie elsewhere than the published ones, as far as its files tell."""
    return list(_differences(subject))


def _differences(subject: LimitsSubject) -> Iterator[str]:
    share_right, learnt = accuracy(subject.test), int(subject.run.facts.data.n.train)
    if abs(share_right - CIFAR10_ACCURACY) > SAME_ACCURACY:
        words = "less well" if share_right < CIFAR10_ACCURACY else "better"
        yield (
            f"This run is right on {100 * share_right:.1f} % of its test images, the published networks on "
            f"{100 * CIFAR10_ACCURACY:.1f} %, with {learnt:,} and {CIFAR10_TRAIN:,} train images; a network that knows "
            f"its classes {words} usually tells unknown ones apart {words}."
        )
    weights = subject.run.model.weights
    if weights and weights.source != "none":
        yield (
            f"Its body was pretrained ({weights.tag}), the published ones were not. Classes that the "
            "pretraining showed it are no strangers to it: Tiny ImageNet is a part of ImageNet, and many classes of "
            "CIFAR-100 have relatives there."
        )
    if all(PurePath(name).suffix.lower() in JPEG for name in subject.test.ids[:100]):
        yield (
            "Its images are JPEG files, the published ones never were; JPEG of quality 80 alone costs a standard "
            "network 8 points of accuracy on CIFAR-10 (RobustBench)."
        )
    yield "Sets of one name may hold other images: OpenOOD took known classes out of Tiny ImageNet by its own list."
