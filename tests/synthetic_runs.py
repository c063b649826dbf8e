"""Finished runs made without training, through the writers of a real run, for the tests of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferkit import recipe as recipes
from transferkit.data.images import Images
from transferkit.data.thumbnails import thumbnails
from transferkit.metrics.evaluation import evaluate, listed_one_by_one, thumbnail_choice
from transferkit.metrics.explanations import Explanations
from transferkit.metrics.feature_map import FeatureMap
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import ProbeAccuracy, ProbedLayer, ProbedLayers
from transferkit.runs.run_directory import Run
from transferkit.runtime import folders

NAMES = ("cat", "dog", "ship", "truck")


def outputs(
    names: Sequence[str] = NAMES,
    per_class: int = 10,
    wrong: int = 3,
    labels: Sequence[int] | None = None,
    width: int = 8,
) -> Outputs:
    """Outputs in which the first `wrong` images of every class are called the next class."""
    classes = len(names)
    truth = np.repeat(np.arange(classes), per_class) if labels is None else np.asarray(labels, np.int64)
    position = np.concatenate([np.arange((truth == label).sum()) for label in range(classes)])
    predicted = np.where(position < wrong, (truth + 1) % classes, truth)
    logits = np.zeros((len(truth), classes), np.float32)
    logits[np.arange(len(truth)), predicted] = 1 + 0.1 * position
    ids = tuple(f"test/{label}/{number}.png" for label, number in zip(truth, position, strict=True))
    features = np.zeros((len(truth), width), np.float32)
    return Outputs(features, logits, truth.astype(np.int64), ids, tuple(names))


def pictures(test: Outputs, side: int = 12) -> Images:
    """One picture for every row of the outputs, each of another colour."""
    colours = np.random.default_rng(0).integers(0, 256, (len(test), 3, 1, 1), dtype=np.uint8)
    pixels = np.broadcast_to(colours, (len(test), 3, side, side)).copy()
    return Images.from_pixels(pixels, test.labels, test.class_names, test.ids)


def finished_run(folder: Path, test: Outputs | None = None, data: str = "cifar10", method: str = "finetune") -> Run:
    """A folder with everything that a run leaves, but the weights and the report."""
    with folders.hold(folder, "run"):
        return _written(Run(folder), test if test is not None else outputs(), data, method)


def _written(run: Run, test: Outputs, data: str, method: str) -> Run:
    run.write_recipe(
        recipes.parse({"data": data, "backbone": {"name": "resnet18"}, "method": {"name": method, "size": 64}})
    )
    run.write_json("model", MODEL | {"class_names": list(test.class_names)})
    run.write_json("facts", FACTS)
    run.write_json("environment", {"python": "3.12.1", "device": "CPU", "packages": {"torch": "2.6.0"}})
    run.write_history(History(tuple(replace(EPOCH, epoch=e, loss=1 / e, val_accuracy=0.5 + 0.1 * e) for e in (1, 2))))
    run.save_outputs({"val": test, "test": test})
    chosen = thumbnail_choice(test)
    run.write_thumbnails(chosen, thumbnails(pictures(test), chosen))
    explanations(test).save(run.explanations_path)
    feature_map(test).save(run.map_path)
    run.write_evaluation(evaluate(test, test))
    return run


def explanations(test: Outputs) -> Explanations:
    """Each listed image with three training images of its own class, and a map that is bright at the left."""
    indices = listed_one_by_one(test)
    labels = np.repeat(np.arange(len(test.class_names)), 3)
    return Explanations(
        indices=indices,
        neighbours=3 * test.labels[indices][:, None] + np.arange(3),
        similarities=np.tile(np.array([0.9, 0.8, 0.7], np.float32), (len(indices), 1)),
        pictures=np.full((len(labels), 3, 12, 12), 90, np.uint8),
        labels=labels,
        ids=tuple(f"train/{label}/{number}.png" for number, label in enumerate(labels)),
        searched=1000,
        train_images=5000,
        maps=np.tile(np.array([[255, 0], [255, 0]], np.uint8), (len(indices), 1, 1)),
        layer="layer4",
        crop=1.0,
        no_maps_because="",
    )


def feature_map(test: Outputs) -> FeatureMap:
    """The first images on a grid, twenty to a row."""
    places = np.stack([np.arange(400) % 20, np.arange(400) // 20], axis=1).astype(np.float32) / 19
    indices = thumbnail_choice(test, 400)
    return FeatureMap(indices, places[: len(indices)])


MODEL = {
    "backbone": {"name": "resnet18", "weights": "imagenet"},
    "input": {"size": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bilinear"},
    "weights": {"source": "torchvision", "tag": "IMAGENET1K_V1", "sha256": "5c106cde", "licence": "BSD-3-Clause"},
    "parameters": 11_181_642,
}
FACTS = {
    "format": 1,
    "command": "transferkit finetune resnet18 --epochs 2",
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": {"data": 1.0, "fit": 61.5, "evaluate": 2.0},
    "notes": ["CPU, fp32, 2 threads", "3 unreadable files were left out"],
    "data": {
        "name": "cifar10",
        "terms": "cite the authors",
        "fingerprint": {"train": "aa" * 32, "val": "bb" * 32, "test": "cc" * 32},
        "n": {"train": 100, "val": 40, "test": 40},
        "size_px": [12, 12],
        "parts": None,
    },
    "test_openings": 1,
    "rates": {
        "batchnorm": "train",
        "optimizer": "sgd",
        "lr": 0.03,
        "head_lr": 0.03,
        "weight_decay": 5e-4,
        "clip_norm": 0.0,
    },
    "parameter_groups": [
        {
            "stage": "stem",
            "parameters": 9536,
            "trainable": False,
            "lr": None,
            "weight_decay": None,
            "batchnorm": "eval",
        },
        {"stage": "head", "parameters": 5130, "trainable": True, "lr": 0.01, "weight_decay": 5e-4, "batchnorm": "-"},
    ],
    "images_per_second": 123.4,
    "frozen_verified": True,
    "trained_parameters": 5130,
    "probe": None,
}
EPOCH = Epoch(1, step=10, lr=0.01, gradient_norm=1.5, images_per_second=123.4, seconds=30.0)


def with_layers(run: Run, layers: int = 3, last: float = 0.6) -> Run:
    """The run as if its layers had been probed: from 40 % up to `last` with the given weights, 30 % in a copy."""
    return with_rows(run, layer_rows(layers, last))


def with_rows(run: Run, rows: Sequence[ProbedLayer]) -> Run:
    """The run as if these layers had been probed."""
    run.write_evaluation(replace(run.evaluation, layers=ProbedLayers(seed=7, pool="avg", rows=tuple(rows))))
    return Run(run.path)


def layer_rows(layers: int, last: float) -> list[ProbedLayer]:
    """Maps of 16 x 16 px that halve while receptive fields of 11 px double."""
    return [
        ProbedLayer(
            layer=f"layer{number + 1}",
            shape=(8 << number, 16 >> number, 16 >> number),
            receptive_field=11 << number,
            stride=4 << number,
            given=probe(0.4 + (last - 0.4) * number / (layers - 1)),
            random=probe(0.3),
        )
        for number in range(layers)
    ]


def probe(accuracy: float) -> ProbeAccuracy:
    """An accuracy of 1,000 images, 3 points either way."""
    return ProbeAccuracy(1000, accuracy, (accuracy - 0.03, accuracy + 0.03), C=1.0)
