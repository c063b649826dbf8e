"""Mask R-CNN in the lab: scenes, what counts as right, and what the figure shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.models.pooled_stages import network_of
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.named_networks import named_network
from transferkit.studies.lab.object_network import small_mask_rcnn
from transferkit.studies.lab.object_scenes import Scene, scenes
from transferkit.studies.lab.object_training import Detections, as_input, matched, target


def mask(rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
    empty = np.zeros((8, 8), dtype=bool)
    empty[rows, columns] = True
    return empty


LEFT, RIGHT = mask(slice(0, 4), slice(0, 4)), mask(slice(4, 8), slice(4, 8))
SCENE = Scene(np.zeros((3, 8, 8), np.uint8), np.array([0, 2]), np.stack([LEFT, RIGHT]))


def detections(kinds: list[int], *masks: npt.NDArray[np.bool_]) -> Detections:
    return Detections(np.array(kinds), np.ones(len(kinds), np.float32), np.array(masks).reshape(-1, 8, 8))


def test_a_box_holds_its_mask_from_edge_to_edge() -> None:
    assert SCENE.boxes.tolist() == [[0, 0, 4, 4], [4, 4, 8, 8]]
    assert target(SCENE)["labels"].tolist() == [1, 3]  # 0 is the background


def test_shapes_of_a_scene_do_not_touch_and_are_the_same_twice() -> None:
    drawn, again = scenes(12, 64, 3), scenes(12, 64, 3)

    assert all((scene.masks[0] & scene.masks[1]).sum() == 0 for scene in drawn)
    assert all(scene.masks.sum((1, 2)).min() > 100 for scene in drawn)
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(drawn, again, strict=True))


def test_a_shape_is_right_by_overlap_and_kind() -> None:
    half = mask(slice(4, 8), slice(4, 6))  # 8 of the 16 px of the right shape: IoU 8 / 16

    both = matched(SCENE, detections([2, 0], half, LEFT))
    wrong_kind = matched(SCENE, detections([1, 0], half, LEFT))

    assert (both.ious, both.right, both.extra) == ((1.0, 0.5), 2, 0)
    assert (wrong_kind.ious, wrong_kind.right, wrong_kind.extra) == ((1.0, 0.5), 1, 0)


def test_too_little_overlap_is_wrong_and_what_fits_nothing_is_extra() -> None:
    quarter = mask(slice(0, 2), slice(0, 2))  # IoU 4 / 16
    elsewhere = mask(slice(0, 2), slice(6, 8))

    match = matched(SCENE, detections([0, 0], quarter, elsewhere))

    assert (match.ious, match.right, match.extra) == ((0.25, 0.0), 0, 1)


def test_one_detection_counts_for_one_shape() -> None:
    match = matched(SCENE, detections([0], LEFT | RIGHT))  # 16 px of 32 with either

    assert (match.ious, match.right, match.extra) == ((0.5, 0.0), 1, 0)
    assert matched(SCENE, detections([])).ious == (0.0, 0.0)


def test_the_network_learns_from_a_scene_and_answers_with_masks_of_its_size() -> None:
    torch.manual_seed(0)
    classifier = named_network("resnet18", "none", 32, SILENT).classifier
    (scene,) = scenes(1, 64, 0)

    network = small_mask_rcnn(classifier, "resnet18", 4, 64)
    losses = network.train()([as_input(scene)], [target(scene)])
    (output,) = network.eval()([as_input(scene)])

    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    assert all(loss.isfinite() for loss in losses.values())
    assert output["masks"].shape[1:] == (1, 64, 64)
    assert torch.equal(network.backbone.body.conv1.weight, network_of(classifier.body).conv1.weight)
    assert network.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 4


def test_a_network_without_four_scales_is_refused() -> None:
    result = CliRunner().invoke(app, ["lab", "mask-rcnn", "lenet", "--weights", "none"])

    assert isinstance(result.exception, TransferkitError)
    assert "this run has lenet. Fine-tune resnet18" in str(result.exception)


def test_an_unknown_network_is_told_the_nearest() -> None:
    with pytest.raises(TransferkitError, match="Did you mean 'resnet18'"):
        named_network("resnet81", "none", 32, SILENT)


@pytest.mark.slow
def test_the_command_trains_draws_and_says_what_it_saw(tmp_path: Path) -> None:
    figure = tmp_path / "masks.png"

    command = ["lab", "mask-rcnn", "resnet18", "--weights", "none", "--steps", "2", "--out", str(figure), "--json"]
    result = CliRunner().invoke(app, command)

    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["n"], said["steps"], len(said["losses"])) == (20, 2, 2)
    assert figure.read_bytes().startswith(b"\x89PNG")
