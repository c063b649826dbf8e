"""Unseen scenes with the boxes, kinds and masks that Mask R-CNN gives them, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from transferkit.report.matplotlib_figures import drawn_to
from transferkit.studies.lab.object_scenes import KINDS, Scene
from transferkit.studies.lab.object_training import Detections, ObjectsLab

COLUMNS = 5
COLOURS = ("#ffffff", "#ffd166", "#4cc9f0")  # by kind, on dark lettering
MASK_OPACITY = 0.45


def draw(lab: ObjectsLab, path: Path) -> None:
    """Draw every unseen scene with what was detected in it; the suffix decides the format."""
    drawn_to(path, lambda: figure(lab))


def figure(lab: ObjectsLab) -> Any:
    """One picture per scene: the true kinds above it, detections in it."""
    from matplotlib.figure import Figure

    rows = -(-len(lab.scenes) // COLUMNS)
    drawing = Figure(figsize=(1.7 * COLUMNS, 1.95 * rows), layout="constrained")
    grid = drawing.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, scene, detections in zip(grid, lab.scenes, lab.detections, strict=False):
        _draw_scene(axes, scene, detections)
    return drawing


def _draw_scene(axes: Any, scene: Scene, detections: Detections) -> None:
    axes.imshow(scene.pixels.transpose(1, 2, 0), interpolation="nearest")
    axes.set_title(" and ".join(KINDS[kind] for kind in scene.kinds))
    for kind, score, mask in zip(detections.kinds, detections.scores, detections.masks, strict=True):
        overlay = np.zeros((*mask.shape, 4))
        overlay[mask] = (*(int(COLOURS[kind][at : at + 2], 16) / 255 for at in (1, 3, 5)), MASK_OPACITY)
        axes.imshow(overlay, interpolation="nearest")
        axes.contour(mask, levels=[0.5], colors=[COLOURS[kind]], linewidths=1)
        top, left = (np.flatnonzero(mask.any(side))[0] if mask.any() else 0 for side in (1, 0))
        label = {"facecolor": COLOURS[kind], "edgecolor": "none", "pad": 1}
        axes.text(left, max(top - 2, 3), f"{KINDS[kind]} {score:.2f}", fontsize=6, color="#16202b", bbox=label)
