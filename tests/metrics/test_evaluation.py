"""What evaluation.json promises, and which pictures are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support
from synthetic_runs import outputs

from transferkit.data.images import Images
from transferkit.data.thumbnails import THUMBNAIL_PX, thumbnails
from transferkit.metrics.evaluation import SHOWN, evaluate, thumbnail_choice
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import (
    ConfusedPair,
    Evaluation,
    NeighboursAccuracy,
    OtherResults,
    ProbeAccuracy,
    ProbedLayer,
    ProbedLayers,
    read_evaluation,
    write_evaluation,
)
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json, write_json
from transferkit.runtime.records import as_json


def random_outputs(n: int = 300, classes: int = 5, seed: int = 0, strength: float = 1.5) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += strength
    names = tuple(f"class {label}" for label in range(classes))
    return Outputs(np.zeros((n, 2), np.float32), logits, labels, tuple(map(str, range(n))), names)


def test_the_numbers_are_those_of_scikit_learn() -> None:
    test = random_outputs()

    scores = evaluate(test).test

    precision, recall, f1, n = precision_recall_fscore_support(test.labels, test.predictions)
    assert scores.accuracy == pytest.approx(accuracy_score(test.labels, test.predictions))
    assert [list(row) for row in scores.confusion] == confusion_matrix(test.labels, test.predictions).tolist()
    assert scores.macro_recall == pytest.approx(recall.mean())
    assert scores.nll == pytest.approx(log_loss(test.labels, np.exp(test.log_probabilities)), rel=1e-6)
    assert [row.precision for row in scores.per_class] == pytest.approx(precision.tolist())
    assert [row.recall for row in scores.per_class] == pytest.approx(recall.tolist())
    assert [row.f1 for row in scores.per_class] == pytest.approx(f1.tolist())
    assert [row.n for row in scores.per_class] == n.tolist()


def test_the_interval_is_wilsons() -> None:
    scores = evaluate(outputs(per_class=10, wrong=3)).test

    # 28 of 40, z = 1.96: centre (0.7 + 1.92 / 40) / (1 + 3.84 / 40), half width by the formula of Wilson 1927
    assert (scores.accuracy, scores.n) == (0.7, 40)
    assert scores.interval == pytest.approx([0.5457, 0.8193], abs=2e-4)


def test_a_class_without_test_images_has_none_instead_of_a_number() -> None:
    test = outputs(names=("a", "b", "never"), labels=[0, 0, 1, 1], wrong=1)

    text = json.dumps(as_json(evaluate(test)), allow_nan=False)
    rows = json.loads(text)["test"]["per_class"]

    assert rows[2]["n"] == 0
    assert rows[2]["recall"] is None
    assert rows[2]["recall_interval"] is None
    assert rows[2]["top_confusion"] is None


def test_a_perfect_classifier_has_no_confused_pairs_and_no_mistakes() -> None:
    scores = evaluate(outputs(wrong=0)).test

    assert (scores.accuracy, scores.most_confused, scores.most_confident_mistakes) == (1.0, (), ())
    assert all(row.top_confusion is None for row in scores.per_class)


def test_val_is_reported_with_n_and_interval_or_as_none() -> None:
    test = outputs()

    val = evaluate(test, test).val

    assert evaluate(test).val is None
    assert val is not None
    assert (val.n, val.accuracy) == (40, 0.7)


def test_confused_pairs_name_count_and_share_of_the_true_class() -> None:
    test = outputs(names=("cat", "dog"), per_class=10, wrong=2)

    pairs = evaluate(test).test.most_confused

    assert pairs[0] == ConfusedPair(true="cat", predicted="dog", n=2, share=0.2)


def test_mistakes_fall_and_hits_rise_in_confidence() -> None:
    scores = evaluate(random_outputs()).test

    mistakes = [row.confidence for row in scores.most_confident_mistakes]
    hits = [row.confidence for row in scores.least_confident_hits]
    assert mistakes == sorted(mistakes, reverse=True)
    assert hits == sorted(hits)
    assert all(row.true != row.predicted for row in scores.most_confident_mistakes)
    assert len(mistakes) == len(hits) == SHOWN


def test_every_mistake_and_every_class_keeps_pictures_where_there_is_room() -> None:
    test = random_outputs(n=1000, strength=3.0)
    wrong = np.flatnonzero(test.predictions != test.labels)

    chosen = thumbnail_choice(test, limit=400)

    right = np.setdiff1d(chosen, wrong)
    assert len(chosen) == len(set(chosen.tolist())) == 400
    assert 50 < len(wrong) < 250
    assert set(wrong.tolist()) <= set(chosen.tolist())
    assert np.bincount(test.labels[right], minlength=5).min() >= 20  # at least 150 places for hits, five classes


def test_hits_keep_a_share_of_the_pictures_when_mistakes_are_many() -> None:
    test = random_outputs(n=2000, strength=0.0)  # about four in five are wrong

    chosen = thumbnail_choice(test, limit=400)

    hits = (test.predictions[chosen] == test.labels[chosen]).sum()
    assert 100 <= hits <= 100 + SHOWN


def test_the_images_listed_one_by_one_come_first() -> None:
    test = random_outputs()
    scores = evaluate(test).test
    listed = [row.index for row in scores.most_confident_mistakes + scores.least_confident_hits]

    assert thumbnail_choice(test, limit=2 * SHOWN).tolist() == listed


def test_the_choice_is_the_same_every_time() -> None:
    test = random_outputs()

    assert thumbnail_choice(test, 100).tolist() == thumbnail_choice(test, 100).tolist()


@pytest.mark.parametrize("strength", [100.0, -100.0])
def test_the_choice_works_without_mistakes_and_without_hits(strength: float) -> None:
    test = random_outputs(n=50, strength=strength)

    assert sorted(thumbnail_choice(test, limit=100).tolist()) == list(range(50))


def test_large_images_become_small_pictures_and_small_ones_stay() -> None:
    large = Images.from_pixels(np.full((2, 3, 200, 100), 7, np.uint8), [0, 1], ("a", "b"))
    small = Images.from_pixels(np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8), [0, 1], ("a", "b"))

    reduced = thumbnails(large, np.array([1]))

    assert reduced.shape == (1, 3, THUMBNAIL_PX, THUMBNAIL_PX // 2)
    assert (reduced == 7).all()
    assert np.array_equal(thumbnails(small, np.array([1, 0])), small.pixels[[1, 0]])


# ---- the file ----

OTHERS = OtherResults(
    (NeighboursAccuracy(k=5, is_result=True, n=40, accuracy=0.5, interval=(0.35, 0.65)),),
    ProbedLayers(
        seed=1,
        pool="avg",
        rows=(
            ProbedLayer("stage1", (8, 4, 4), 11, 4, ProbeAccuracy(40, 0.5, (0.35, 0.65), 1.0, "val", False)),
            ProbedLayer("penultimate", (8,), "global", None, ProbeAccuracy(40, 0.5, (0.35, 0.65), 1.0)),
        ),
    ),
)
HISTORY = History(
    (
        Epoch(0, val_accuracy=0.5, val_loss=1.0, val_images=40),
        Epoch(1, val_accuracy=0.7, val_loss=0.5, val_images=40, val_gained=9, val_lost=1, is_result=True),
    )
)


def whole() -> Evaluation:
    test = random_outputs()
    return evaluate(test, test, HISTORY, OTHERS)


def test_an_evaluation_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    write_evaluation(tmp_path, whole())

    assert read_evaluation(tmp_path) == whole()


def test_the_class_that_is_beaten_is_called_class_in_the_file(tmp_path: Path) -> None:
    write_evaluation(tmp_path, whole())

    commonest = whole().test.commonest
    assert commonest is not None
    assert read_json(tmp_path / "evaluation.json")["test"]["commonest"]["class"] == commonest.class_name


def test_without_test_images_the_numbers_are_nan_again_when_they_are_read(tmp_path: Path) -> None:
    write_evaluation(tmp_path, evaluate(outputs(labels=[])))

    found = read_evaluation(tmp_path).test

    assert read_json(tmp_path / "evaluation.json")["test"]["accuracy"] is None
    assert np.isnan([found.accuracy, found.macro_recall, found.nll, found.calibration.ece, found.selective.aurc]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, r"was written by a newer version of transferkit \(schema 2, here 1\)"),
        ({"schema": None}, "is damaged: schema is None, expected int"),
        ({"test": {}}, "is damaged: test.n is missing"),
        ({"val": {"n": 40, "accuracy": "x", "interval": [0, 1]}}, "is damaged: val.accuracy is 'x', expected float"),
        ({"neighbours": 5}, "is damaged: neighbours is 5, expected a list"),
    ],
)
def test_a_damaged_evaluation_is_told_with_its_place(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_json(tmp_path / "evaluation.json", as_json(whole()) | change)

    with pytest.raises(TransferkitError, match=rf"evaluation\.json {words}"):
        read_evaluation(tmp_path)
