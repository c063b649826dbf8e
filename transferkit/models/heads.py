"""Heads other than a linear layer, and how a stored head is built again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from transferkit.models.linear import VOTE_TEMPERATURE, knn_logits
from transferkit.models.stored_model import LINEAR, HeadFacts
from transferkit.runtime.errors import TransferkitError


class NeighbourHead(nn.Module):
    """Features (M, D) to the log of the votes (M, K) of the k nearest training images, which it remembers.

    The votes are weighed by cosine (see `solvers.knn_logits`); their softmax is each class's share of the votes.

    Attributes:
        features: (N, D), of the training images.
        labels: (N,) int64.
    """

    features: Tensor
    labels: Tensor

    def __init__(
        self, features: Tensor, labels: Tensor, num_classes: int, k: int, temperature: float = VOTE_TEMPERATURE
    ) -> None:
        super().__init__()
        self.num_classes, self.k, self.temperature = num_classes, k, temperature
        self.register_buffer("features", features)
        self.register_buffer("labels", labels)

    def forward(self, features: Tensor) -> Tensor:
        """Of features in fp32, as `Classifier.logits` gives them: in bf16 thousands of similarities would tie."""
        return knn_logits(self.features, self.labels, features, self.num_classes, self.k, self.temperature)


def described(head: nn.Module) -> HeadFacts:
    """What is needed besides tensors to build a head again."""
    if isinstance(head, NeighbourHead):
        return HeadFacts("neighbours", len(head.labels), head.k, head.temperature)
    return LINEAR


def rebuilt(facts: HeadFacts, num_features: int, num_classes: int) -> nn.Module:
    """A head with room for the tensors of the one that was described.

    Raises:
        TransferkitError: If this version knows no such head, or facts are missing.
    """
    if facts.kind not in KINDS:
        raise TransferkitError(
            f"This model has a head of kind {facts.kind!r}, which this transferkit does not know. Upgrade."
        )
    return KINDS[facts.kind](facts, num_features, num_classes)


def _linear(_: HeadFacts, num_features: int, num_classes: int) -> nn.Module:
    return nn.Linear(num_features, num_classes)


def _neighbours(facts: HeadFacts, num_features: int, num_classes: int) -> nn.Module:
    if facts.images is None or facts.k is None or facts.temperature is None:
        raise TransferkitError("model.json is damaged: a head of neighbours needs images, k and temperature.")
    features, labels = torch.empty(facts.images, num_features), torch.zeros(facts.images, dtype=torch.long)
    return NeighbourHead(features, labels, num_classes, facts.k, facts.temperature)


KINDS: dict[str, Callable[[HeadFacts, int, int], nn.Module]] = {"linear": _linear, "neighbours": _neighbours}
