"""Why the network answered so: the most similar training images, and the regions that supported its prediction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.data.thumbnails import thumbnails
from transferkit.features.explanations.gradcam import CamLayer, cam_layer, gradcam
from transferkit.metrics.evaluation import listed_one_by_one
from transferkit.metrics.explanations import Explanations, Floats, Integers
from transferkit.metrics.outputs import Outputs
from transferkit.models.classifier import Classifier
from transferkit.runtime.machine import Runtime

NEIGHBOURS = 3  # training images shown of each listed image
SEARCHED = 5_000  # training images searched, at most ...
SEARCHED_AT_LEAST = 1_000  # ... and no more than test images, but at least so many: one pass more costs no more
CAM_BATCH = 16  # images whose gradients are held at once


def explain(
    classifier: Classifier,
    pool: Images,
    train: Outputs,
    test_images: Images,
    test: Outputs,
    runtime: Runtime,
    train_images: int,
) -> Explanations:
    """Neighbours and maps of the images that the report lists.

    Args:
        classifier: As it was fitted.
        pool: Training images to search, see `searched`.
        train: What the classifier says of them.
        test_images: The test images ...
        test: ... and what it says of these.
        runtime: Where to compute the maps.
        train_images: How many training images there are.
    """
    indices = listed_one_by_one(test)
    nearest, similarities = nearest_rows(test.features[indices], train.features, NEIGHBOURS)
    shown, neighbours = np.unique(nearest, return_inverse=True)
    layer = cam_layer(classifier)
    return Explanations(
        indices=indices,
        neighbours=neighbours.reshape(nearest.shape),
        similarities=similarities,
        pictures=thumbnails(pool, shown),
        labels=pool.require_labels()[shown],
        ids=tuple(pool.ids[row] for row in shown),
        searched=len(pool),
        train_images=train_images,
        maps=_maps(classifier, layer, test_images.take(indices), test.predictions[indices], runtime),
        layer=layer.name,
        crop=classifier.input_spec.crop,
        no_maps_because=layer.reason,
    )


def searched(train_images: int, test_images: int, seed: int) -> Integers:
    """Positions of the training images to search, a seeded sample where they are many; in order.

    Example:
        >>> [len(searched(n, 800, 0)) for n in (50, 50_000)], len(searched(50_000, 10_000, 0))
        ([50, 1000], 5000)
    """
    limit = min(SEARCHED, max(SEARCHED_AT_LEAST, test_images))
    return np.sort(np.random.default_rng(seed).permutation(train_images)[:limit])


def nearest_rows(queries: Floats, features: Floats, count: int) -> tuple[Integers, Floats]:
    """The rows of `features` most similar to each query by cosine, most similar first; ties in order.

    Args:
        queries: (M, D).
        features: (N, D).
        count: K, how many; fewer where N is smaller.

    Returns:
        Rows (M, K) and their cosines (M, K).
    """
    similarity = _unit(queries) @ _unit(features).T  # (M, N)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return nearest, np.take_along_axis(similarity, nearest, axis=1)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def _maps(
    classifier: Classifier, layer: CamLayer, pixels: npt.NDArray[np.uint8], classes: Integers, runtime: Runtime
) -> npt.NDArray[np.uint8]:
    """(M, h, w), Grad-CAM of the predicted classes in 0..255; (M, 0, 0) where the network has no such layer."""
    if not layer.name:
        return np.zeros((len(pixels), 0, 0), np.uint8)
    parts = [np.zeros((0, layer.height, layer.width), np.float32)]
    for at in range(0, len(pixels), CAM_BATCH):
        images = to_device(pixels[at : at + CAM_BATCH], runtime.device)
        chosen = torch.from_numpy(classes[at : at + CAM_BATCH]).to(runtime.device)
        parts.append(gradcam(classifier, images, chosen, layer))
    scaled: npt.NDArray[np.uint8] = np.round(255 * np.concatenate(parts)).astype(np.uint8)
    return scaled
