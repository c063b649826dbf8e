"""Mask R-CNN on a backbone that is there: a few steps on drawn scenes, then judged and drawn on unseen ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.models.classifier import Classifier
from transferkit.runtime import machine
from transferkit.runtime.console import Console
from transferkit.studies.lab.object_network import small_mask_rcnn
from transferkit.studies.lab.object_scenes import KINDS, Scene, scenes

SCENE_PX = 64
INPUT_PX = 112
SCENES_PER_STEP = 12  # with narrow heads, more scenes pay more than more features do
UNSEEN = 10  # scenes of two shapes
LR = 5e-4  # of AdamW; tried beside 7e-4 and 1e-3
WARMUP = 5  # steps
GENERAL = ("conv1", "layer1")  # stay as they are: early features are general, and their maps are the largest
LONGEST_GRADIENT = 5.0
LEAST_SCORE = 0.5  # of a detection that counts
LEAST_IOU = 0.5  # of its mask with the shape's; He et al. 2017 report AP at this overlap


@dataclass(frozen=True)
class Detections:
    """What was found in one scene, surest first: kinds (M,), scores (M,), masks (M, H, W) bool."""

    kinds: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ObjectsResult:
    """How well objects of unseen scenes are found.

    Attributes:
        backbone: Name of the network below.
        weights: Where its weights came from.
        steps: Of training, on `SCENES_PER_STEP` new scenes each.
        seconds: Of the training.
        n: Shapes in the unseen scenes.
        right: Shapes with a detection that overlaps enough and says the right kind.
        mean_iou: Of each shape's mask with its detection's, 0 where there is none.
        extra: Detections that belong to no shape.
        losses: Total loss of each step.
    """

    backbone: str
    weights: str
    steps: int
    seconds: float
    n: int
    right: int
    mean_iou: float
    extra: int
    losses: tuple[float, ...]

    @property
    def sentence(self) -> str:
        """The finding."""
        return (
            f"After {self.steps} steps, {self.right} of {self.n} unseen shapes have the right kind and a mask "
            f"with an IoU of at least {LEAST_IOU}; mean IoU {self.mean_iou:.2f}, {self.extra} detections of nothing."
        )


@dataclass(frozen=True)
class ObjectsLab:
    """The numbers, and what they were counted from."""

    result: ObjectsResult
    scenes: Sequence[Scene]
    detections: Sequence[Detections]


def train_and_judge(classifier: Classifier, name: str, steps: int, seed: int, console: Console) -> ObjectsLab:
    """Put Mask R-CNN on a classifier's body, train it, and judge it on scenes it has not seen.

    Raises:
        TransferkitError: If the body is no ResNet of torchvision with the stem for large images.
    """
    machine.seed_everything(seed)
    network = small_mask_rcnn(classifier, name, 1 + len(KINDS), INPUT_PX)
    begun = time.monotonic()
    losses = train(network, scenes(steps * SCENES_PER_STEP, SCENE_PX, 2 * seed), console)
    seconds = time.monotonic() - begun
    unseen = scenes(UNSEEN, SCENE_PX, 2 * seed + 1)
    detections = [detected(network, scene) for scene in unseen]
    matches = [matched(scene, of_scene) for scene, of_scene in zip(unseen, detections, strict=True)]
    result = ObjectsResult(
        name,
        classifier.weights.tag or classifier.weights.source,
        steps,
        seconds,
        n=sum(len(scene.kinds) for scene in unseen),
        right=sum(match.right for match in matches),
        mean_iou=float(np.mean([iou for match in matches for iou in match.ious])),
        extra=sum(match.extra for match in matches),
        losses=losses,
    )
    return ObjectsLab(result, unseen, detections)


def train(network: Any, training: Sequence[Scene], console: Console) -> tuple[float, ...]:
    """Train in place, `SCENES_PER_STEP` new scenes a step; the total loss of each."""
    network.train()
    for stage in GENERAL:
        network.backbone.body[stage].requires_grad_(False)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, weight_decay=1e-4)
    steps = len(training) // SCENES_PER_STEP
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(step, steps))
    losses = []
    for step in range(steps):
        batch = training[step * SCENES_PER_STEP : (step + 1) * SCENES_PER_STEP]
        parts = network([as_input(scene) for scene in batch], [target(scene) for scene in batch])
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 10 == 0:
            console.line(
                f"step {step + 1} of {steps}: " + ", ".join(f"{key} {float(parts[key].detach()):.2f}" for key in parts)
            )
    return tuple(losses)


def rate_share(step: int, steps: int) -> float:
    """The share of the rate at a step: up within five steps, down over the second half.

    Example:
        >>> [rate_share(step, 40) for step in (0, 4, 20, 30)]
        [0.2, 1.0, 1.0, 0.5]
    """
    return min((step + 1) / WARMUP, 1.0, 2 * (steps - step) / steps)


def as_input(scene: Scene) -> Tensor:
    """(3, H, W) in [0, 1], as Mask R-CNN takes images."""
    return torch.from_numpy(scene.pixels).float() / 255


def target(scene: Scene) -> dict[str, Tensor]:
    """Boxes, labels (0 is the background) and masks, as Mask R-CNN takes them."""
    masks = torch.from_numpy(scene.masks.astype(np.uint8))
    return {"boxes": torch.from_numpy(scene.boxes), "labels": torch.from_numpy(scene.kinds + 1), "masks": masks}


@torch.inference_mode()
def detected(network: Any, scene: Scene) -> Detections:
    """What a network sees in a scene with enough confidence."""
    (output,) = network.eval()([as_input(scene)])
    chosen = output["scores"] >= LEAST_SCORE
    masks = (output["masks"][chosen, 0] >= 0.5).numpy()
    return Detections(output["labels"][chosen].numpy() - 1, output["scores"][chosen].numpy(), masks)


@dataclass(frozen=True)
class Match:
    """How objects and detections fit: the IoU of each object, how many are right, how many detections are left over."""

    ious: tuple[float, ...]
    right: int
    extra: int


def matched(scene: Scene, detections: Detections) -> Match:
    """Give each object, in turn, the free detection that overlaps it most."""
    free = list(range(len(detections.masks)))
    ious, right = [], 0
    for kind, mask in zip(scene.kinds, scene.masks, strict=True):
        overlaps = {number: iou(mask, detections.masks[number]) for number in free}
        best = max(overlaps, key=overlaps.__getitem__, default=-1)
        ious.append(overlaps.get(best, 0.0))
        if ious[-1] > 0:
            free.remove(best)
        right += ious[-1] >= LEAST_IOU and detections.kinds[best] == kind
    return Match(tuple(ious), int(right), len(free))


def iou(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Pixels in both masks over pixels in either; 0 where both are empty.

    Example:
        >>> iou(np.array([True, True, False]), np.array([False, True, True]))
        0.3333333333333333
    """
    either = int((mask | other).sum())
    return int((mask & other).sum()) / either if either else 0.0
