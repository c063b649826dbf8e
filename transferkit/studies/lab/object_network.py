"""A Mask R-CNN that learns a few kinds of large objects within a minute on one thread: narrow heads, few proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferkit.deploy.export.mask_rcnn import filled
from transferkit.models.classifier import Classifier

if TYPE_CHECKING:
    from torchvision.models.detection import MaskRCNN

WIDTH = 128  # features of pyramid, proposals and masks; torchvision has 256, at four times the multiplications
MASK_LAYERS = 2  # torchvision has 4; most of a step is spent in them
PROPOSALS = 64
LIMITS: dict[str, Any] = {  # 1,000 to 2,000 proposals are usual, for photographs with dozens of objects
    **{f"rpn_{when}_nms_top_n_{mode}": PROPOSALS for when in ("pre", "post") for mode in ("train", "test")},
    "rpn_batch_size_per_image": PROPOSALS,
    "box_batch_size_per_image": PROPOSALS // 2,  # to learn from, a quarter of them on objects
    "box_detections_per_img": 10,
}


def small_mask_rcnn(classifier: Classifier, name: str, num_classes: int, size_px: int) -> MaskRCNN:
    """Mask R-CNN on a classifier's body; pyramid, proposals, boxes, classes and masks start at random.

    Args:
        classifier: Gives its body, with its weights.
        name: Of its backbone.
        num_classes: Kinds of objects, and one for the background.
        size_px: To which images are scaled.

    Raises:
        TransferkitError: If the body is no ResNet of torchvision with the stem for large images.
    """
    network = filled(classifier, name, num_classes, min_size=size_px, max_size=size_px, **LIMITS)
    narrow(network, num_classes)
    return network


def narrow(network: MaskRCNN, num_classes: int) -> None:
    """Replace, in place, all that lies above the body by the same with fewer features."""
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

    backbone, proposals, heads = network.backbone, network.rpn, network.roi_heads
    widths = [block[0].in_channels for block in backbone.fpn.inner_blocks]
    backbone.fpn = FeaturePyramidNetwork(widths, WIDTH, LastLevelMaxPool())
    backbone.out_channels = WIDTH
    proposals.head = RPNHead(WIDTH, proposals.anchor_generator.num_anchors_per_location()[0])
    side = heads.box_roi_pool.output_size[0]
    heads.box_head = TwoMLPHead(WIDTH * side**2, 4 * WIDTH)
    heads.box_predictor = FastRCNNPredictor(4 * WIDTH, num_classes)
    heads.mask_head = MaskRCNNHeads(WIDTH, [WIDTH] * MASK_LAYERS, 1)
    heads.mask_predictor = MaskRCNNPredictor(WIDTH, WIDTH, num_classes)
