"""A tuned ResNet as the backbone of torchvision's Mask R-CNN: from one label per image to a mask per object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from transferkit.deploy.export.source import ExportSource
from transferkit.models.backbones import card
from transferkit.models.classifier import Classifier
from transferkit.models.pooled_stages import network_of
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import write_tensors

if TYPE_CHECKING:
    from torchvision.models.detection import MaskRCNN

FILE = "mask-rcnn.safetensors"


def mask_rcnn(run: Run | Path | str, num_classes: int | None = None, **options: Any) -> MaskRCNN:
    """Mask R-CNN (He et al. 2017) on a feature pyramid over the backbone of a run, ready to be trained on objects.

    The backbone's weights are the run's; pyramid, proposals, boxes, classes and masks start at random. As in
    torchvision's own, BatchNorm is frozen: a few large images make no good batch statistics.

    Args:
        run: A finished run of a torchvision ResNet with the ImageNet stem, or its folder.
        num_classes: Kinds of objects, and one for the background; default: the run's classes and the background.
        **options: Of `torchvision.models.detection.MaskRCNN`, such as `min_size=320`.

    Returns:
        The network. In train mode it takes a list of images (3, H, W) in [0, 1] and their targets and gives losses; in
        eval mode it gives boxes, labels, scores and masks.

    Raises:
        TransferkitError: If the run's backbone is no such ResNet.
    """
    from transferkit.runs.stored_classifier import load_classifier

    place = open_run(run)
    classifier = load_classifier(place)
    return filled(classifier, place.recipe.backbone.name, num_classes or 1 + len(classifier.class_names), **options)


def require() -> None:
    """Nothing besides the core packages is needed."""


def write(source: ExportSource, path: Path) -> tuple[str, ...]:
    """Write the state dict of a Mask R-CNN for the run's classes and the background.

    Returns:
        Nothing that a user must know besides.

    Raises:
        TransferkitError: If the backbone is no ResNet of torchvision with the ImageNet stem.
        MachineError: If the backbone in it gives other maps than the model.
    """
    network = filled(source.classifier, source.name, 1 + len(source.class_names))
    require_equal(source.classifier, network)
    write_tensors(path, network.state_dict())
    network.load_state_dict(load_file(path))
    return ()


def usage(source: ExportSource, path: Path) -> str:
    """How to use the file."""
    spec = source.classifier.input_spec
    return (
        "from safetensors.torch import load_file\nfrom torchvision.models.detection import MaskRCNN, backbone_utils\n"
        f"backbone = backbone_utils.resnet_fpn_backbone(backbone_name={source.name!r}, weights=None)\n"
        f"network = MaskRCNN(backbone, {1 + len(source.class_names)}, image_mean={list(spec.mean)}, "
        f"image_std={list(spec.std)})\n"
        f"network.load_state_dict(load_file({str(path)!r}))  # the heads are random: train them on boxes and masks"
    )


def filled(classifier: Classifier, name: str, num_classes: int, **options: Any) -> MaskRCNN:
    """A Mask R-CNN whose backbone holds the body's weights.

    Raises:
        TransferkitError: If the body is no ResNet of torchvision with the ImageNet stem.
    """
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    known = card(name)
    if known.source != "torchvision" or not known.family.startswith("resnet"):
        raise TransferkitError(
            f"Mask R-CNN takes maps at four scales, from layer1 to layer4 of a ResNet; this run has {name}. "
            "Fine-tune resnet18, 34, 50, 101 or 152."
        )
    weights = network_of(classifier.body).state_dict()
    if weights["conv1.weight"].shape[-1] != 7:
        raise TransferkitError(
            f"This {name} has the stem for small images, and objects are found in large ones. Train it with "
            "backbone.stem=imagenet."
        )
    backbone = resnet_fpn_backbone(backbone_name=name, weights=None, trainable_layers=5)
    frozen = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    backbone.body.load_state_dict(frozen)
    mean, std = classifier.input_spec.mean, classifier.input_spec.std
    prepared = {"image_mean": list(mean), "image_std": list(std), **options}
    return MaskRCNN(backbone, num_classes, **prepared)


def require_equal(classifier: Classifier, network: MaskRCNN) -> None:
    """Refuse a network whose last map, averaged, is not the model's features.

    Raises:
        MachineError: Says by how much they differ.
    """
    images = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    body: Any = network.backbone.body
    with torch.inference_mode():
        prepared = classifier.eval().prepare(images)
        maps = list(body.eval()(prepared).values())
        difference = float((maps[-1].mean((2, 3)) - network_of(classifier.body)(prepared)).abs().max())
    if not difference <= 1e-3:
        raise MachineError(f"The backbone in Mask R-CNN differs by {difference:.2g}; please report it.")
