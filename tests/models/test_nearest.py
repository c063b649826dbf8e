"""Nearest neighbours and class means: against scikit-learn and values worked by hand."""

import numpy as np
import pytest
import torch
from blobs import blobs
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from transferkit.models.linear import chunks, knn_logits, nearest_class_mean
from transferkit.runtime.errors import TransferkitError


def test_neighbours_vote_as_in_scikit_learn():
    features, labels = blobs()
    queries, _ = blobs(seed=1)

    logits = knn_logits(features, labels, queries, 4, k=20)

    oracle = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = oracle.fit(features.numpy(), labels.numpy()).predict_proba(queries.numpy())
    assert logits.exp().numpy() / logits.exp().sum(1, keepdim=True).numpy() == pytest.approx(expected, abs=1e-4)


def test_votes_worked_by_hand():
    train = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])

    logits = knn_logits(train, torch.tensor([0, 1, 1]), torch.tensor([[5.0, 0.0]]), 3, k=2, temperature=0.5)

    # cosines 1 and 0 with weights e^2 and e^0; the third class has no vote: -1/.5 - 20
    assert logits.tolist() == [pytest.approx([2.0, 0.0, -22.0])]


def test_a_tiny_temperature_does_not_overflow():
    features, labels = blobs()

    logits = knn_logits(features, labels, features, 4, k=5, temperature=1e-3)

    assert torch.isfinite(logits).all()
    assert (logits.argmax(1) == labels).all()  # the nearest image is the query itself


def test_queries_in_chunks_give_the_same_votes(monkeypatch):
    features, labels = blobs(n=600)
    expected = knn_logits(features, labels, features, 4, k=7)
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", {"cpu": 1})

    assert knn_logits(features, labels, features, 4, k=7).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_more_neighbours_than_images_are_refused_with_both_numbers():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="k = 241 neighbours were asked for, but there are 240 training images"):
        knn_logits(features, labels, features, 4, k=241)


def test_nearest_class_mean_equals_scikit_learn():
    features, labels = blobs()
    queries, _ = blobs(seed=1)

    predictions = nearest_class_mean(features, labels, 4).logits(queries).argmax(1)

    expected = NearestCentroid().fit(features.numpy(), labels.numpy()).predict(queries.numpy())
    assert predictions.tolist() == expected.tolist()


def test_class_means_worked_by_hand():
    head = nearest_class_mean(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0, 2]), 3)

    # means (2, 0) and (0, 4): biases -4/2 and -16/2; the second class has no images
    assert head.weight.tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 4.0]]
    assert head.bias.tolist() == [-2.0, pytest.approx(-1e30), -8.0]
