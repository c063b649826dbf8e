"""Whether the labels can be trusted: likely label errors in train and test, and test images that are also in train."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize
from scipy.special import softmax

from transferkit.data import datasets
from transferkit.data.duplicates import Duplicate, duplicates
from transferkit.data.groups import folds_of_all, group_numbers
from transferkit.data.images import Images, Labels, Pixels, Splits
from transferkit.data.thumbnails import thumbnails
from transferkit.features.fast_classifier import collect
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import wilson
from transferkit.metrics.temperature import TEMPERATURES
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.linear import fit_linear, fit_probe
from transferkit.report.markdown import plain_cell
from transferkit.runs import run_directory
from transferkit.runs.label_check import (
    CheckedAccuracy,
    CheckedPart,
    DuplicatePair,
    Judge,
    LabelCheck,
    LabelError,
    LabelledImage,
)
from transferkit.runs.run_directory import Run
from transferkit.runs.small_pictures import LabelPictures
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.array_records import write_array_record
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text
from transferkit.runtime.optional_libraries import require_packages

SHOWN = 24  # of each kind, with pictures
FOLDS = 5
RANDOM_SHARES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4)  # of labels, that are tried
DRAWS = 5  # of labels, whose mean is told: with 2,000 found it varies by about 1 %
CSV_COLUMNS = ("part", "id", "label", "suggested", "probability of label")

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def require_cleanlab() -> None:
    """Refuse where the extra is missing, before any work.

    Raises:
        TransferkitError: Says what to install.
    """
    require_packages("The search for label errors", ["cleanlab"], "labels")


def check_labels(
    run: Run, console: Console, *, device: str = "auto", limit: int | None = None, seed: int = 0
) -> LabelCheck:
    """Look for label errors and duplicates in the data of a run; leaves labels.json, labels.csv and pictures in it.

    Train is judged by a cross-validated linear probe on features that have not learnt from it: those of the weights the
    run started from (of a network trained from scratch, its own, and the report says so). Test is judged by the run's
    own outputs. Opens the test set once more; nothing is chosen by it.

    Args:
        run: A finished run.
        console: For progress.
        device: Where to compute.
        limit: Use at most this many training images, a seeded sample.
        seed: Of the sample and of the folds.

    Raises:
        TransferkitError: If cleanlab is missing, or the data are not those of the run.
    """
    require_cleanlab()
    runtime = machine.start(device, run.precision, run.recipe.threads)
    splits = datasets.load(run.recipe.data, console)
    _require_same_data(run, splits)
    labelled = _sample(splits.train, limit, seed)
    test_images = splits.test.open()
    classifier, judge = _judge(run, splits, console)
    classifier.to(runtime.device)
    train = collect(classifier, labelled, runtime, console, "features of train")
    test_features = collect(classifier, test_images, runtime, console, "features of test").features
    test = run.outputs("test")
    of_train, of_test = _out_of_sample(train, run, seed), np.exp(test.log_probabilities)
    train_issues, test_issues = issues(train.require_labels(), of_train), issues(test.require_labels(), of_test)
    pairs = duplicates(labelled, test_images, train.features, test_features)
    check = LabelCheck(
        judge,
        _part(train, len(splits.train), train_issues, expected_issues(train.require_labels(), of_train, seed)),
        _part(test, len(test), test_issues, expected_issues(test.require_labels(), of_test, seed)),
        tuple(_pair(pair, test, labelled) for pair in pairs),
        _accuracies(test, [row.index for row in test_issues], [pair.test for pair in pairs]),
    )
    _write(run, check, labelled, test_images)
    return check


def _require_same_data(run: Run, splits: Splits) -> None:
    known = run.facts.data.fingerprint
    changed = [name for name in ("train", "test") if not getattr(splits, name).is_known_as(getattr(known, name))]
    if changed:
        raise TransferkitError(
            f"The {' and '.join(changed)} images are not those that {run.path} was made with: files or labels have "
            "changed since. Run the recipe again, then check its labels."
        )


def _sample(images: Images, limit: int | None, seed: int) -> Images:
    if limit is None or limit >= len(images):
        return images
    return images.subset(np.sort(np.random.default_rng(seed).permutation(len(images))[:limit]))


def _judge(run: Run, splits: Splits, console: Console) -> tuple[Classifier, Judge]:
    """A network whose features have not learnt from these labels, and its name; from random weights there is none."""
    if not run.recipe.method.starts_from_pretrained:
        return load_classifier(run), "scratch"
    size = run.model.input.size
    return backbones.load_for(run.recipe.backbone, splits.train, size, console), "start"


# ---- label errors ----


@dataclass(frozen=True)
class Issue:
    """An image whose label is likely wrong.

    Attributes:
        index: Position in its image set.
        suggested: The class suggested instead.
        probability: Of the label it has.
    """

    index: int
    suggested: int
    probability: float


def issues(labels: Integers, probabilities: Floats) -> list[Issue]:
    """Images whose label may be wrong, the least probable label first.

    Confident learning (Northcutt, Jiang and Chuang, JAIR 70 (2021), arXiv:1911.00068), pruning by noise rate, as
    cleanlab does it.

    Args:
        labels: (N,) as they are.
        probabilities: (N, C) of a classifier that has not learnt from these labels.
    """
    import warnings

    from cleanlab.filter import find_label_issues

    if not len(labels):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with hardly any image
        indices = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    chosen = [int(index) for index in indices]
    return [Issue(at, int(probabilities[at].argmax()), float(probabilities[at, labels[at]])) for at in chosen]


def expected_issues(labels: Integers, probabilities: Floats, seed: int) -> float:
    """How many issues a model that is as often wrong as this one finds where every label is right; a mean over draws.

    Labels are drawn from the model's own calibrated probabilities: such labels are right by construction, and all that
    is found among them is the model's uncertainty.

    Args:
        labels: (N,) as they are.
        probabilities: (N, C) of a classifier that has not learnt from these labels.
        seed: Of the draws.
    """
    if not len(labels):
        return 0.0
    calibrated = calibrated_beside_errors(labels, probabilities).cumsum(axis=1)
    draws = np.random.default_rng(seed).random((DRAWS, len(labels), 1))
    drawn = np.minimum((draws > calibrated).sum(axis=2), probabilities.shape[1] - 1)  # (DRAWS, N)
    return float(np.mean([len(issues(some, probabilities)) for some in drawn]))


def calibrated_beside_errors(labels: Integers, probabilities: Floats) -> Floats:
    """(N, C), the probabilities at the temperature that explains the labels best if a share of them is random.

    The temperature is that of Guo et al. 2017 (arXiv:1706.04599). Alone it would take wrong labels of images that the
    model is sure of for overconfidence; a share of uniformly random labels, fitted beside it by likelihood, takes them
    instead and is left out of what is returned.
    """
    logs = np.log(np.clip(probabilities, 1e-12, None))
    fits = [_fitted_temperature(logs, labels, share) for share in RANDOM_SHARES]
    _, temperature = min(fits)
    known: Floats = softmax(logs / temperature, axis=1)
    return known


def _fitted_temperature(logs: Floats, labels: Integers, share: float) -> tuple[float, float]:
    """The loss where this share of labels is random, and the temperature that makes it smallest."""

    def loss(log_t: float) -> float:
        of_label = softmax(logs / np.exp(log_t), axis=1)[np.arange(len(labels)), labels]
        return float(-np.log((1 - share) * of_label + share / logs.shape[1] + 1e-300).mean())

    best = optimize.minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-3})
    return float(best.fun), float(np.exp(best.x))


def _out_of_sample(train: Outputs, run: Run, seed: int) -> Floats:
    """(N, C), each image's probabilities from a probe that was fitted on the other folds."""
    features, labels = torch.from_numpy(train.features), torch.from_numpy(train.require_labels())
    classes = len(train.class_names)
    given = run.facts.probe.C if run.facts.probe else None
    none = features[:0], labels[:0]
    groups = None if train.groups is None else group_numbers(train.groups)
    together = None if groups is None else torch.from_numpy(groups)
    C = given or fit_probe(features, labels, *none, classes, seed=seed, groups=together).C
    fold = torch.from_numpy(folds(train.require_labels(), seed, groups))
    others = (fold != torch.arange(FOLDS)[:, None]).float()  # (F, N)
    scale = features.std(dim=0).clamp_min(1e-6)
    fits = fit_linear(features, labels, classes, [C], scale=scale, sample_weights=others, tolerance=1e-4)
    logits = torch.empty(len(labels), classes)
    for number in range(FOLDS):
        logits[fold == number] = fits.head(number).logits(features[fold == number])
    probabilities: Floats = logits.double().softmax(dim=1).numpy()
    return probabilities


def folds(labels: Integers, seed: int, groups: Integers | None = None) -> Integers:
    """(N,) in 0..4, every class spread evenly over them in a seeded order, whole groups where there are any."""
    if groups is not None:
        return folds_of_all(labels, groups, FOLDS, seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % FOLDS
    return fold


# ---- what is left in the run ----


def _part(outputs: Outputs, total: int, errors: Sequence[Issue], expected: float) -> CheckedPart:
    names, labels = outputs.class_names, outputs.require_labels()
    rows = (
        LabelError(at.index, outputs.ids[at.index], names[labels[at.index]], names[at.suggested], at.probability)
        for at in errors
    )
    return CheckedPart(len(outputs), total, tuple(rows), expected)


def _pair(pair: Duplicate, test: Outputs, train: Images) -> DuplicatePair:
    test_name = test.class_names[test.require_labels()[pair.test]]
    train_name = train.class_names[train.require_labels()[pair.train]]
    return DuplicatePair(
        LabelledImage(pair.test, test.ids[pair.test], test_name),
        LabelledImage(pair.train, train.ids[pair.train], train_name),
        pair.kind,
        pair.correlation,
    )


def _accuracies(test: Outputs, wrong_labels: Sequence[int], in_train: Sequence[int]) -> tuple[CheckedAccuracy, ...]:
    """Test accuracy of the run with and without the images found."""
    left_out = {
        "all test images": [],
        "without those that are also in train": in_train,
        "without those whose label may be wrong": wrong_labels,
        "without both": [*in_train, *wrong_labels],
    }
    hits = test.is_right
    return tuple(_accuracy(name, np.delete(hits, sorted(set(out)))) for name, out in left_out.items())


def _accuracy(name: str, hits: npt.NDArray[np.bool_]) -> CheckedAccuracy:
    n, right = len(hits), int(hits.sum())
    return CheckedAccuracy(name, n, right / n if n else None, wilson(right, n).bounds)


def _write(run: Run, check: LabelCheck, train: Images, test: Images) -> None:
    pairs = check.duplicates[:SHOWN]
    pictures = LabelPictures(
        *_pictures(train, [*check.train.issues[:SHOWN], *(pair.train for pair in pairs)]),
        *_pictures(test, [*check.test.issues[:SHOWN], *(pair.test for pair in pairs)]),
    )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_csv_rows(check))
    openings = (run.facts.label_openings or 0) + 1
    with run_directory.hold_run(run):
        write_array_record(run.label_pictures_path, pictures)
        write_text(run.path / "labels.csv", text.getvalue())
        run.write_facts(replace(run.facts, label_openings=openings))
        run.write_labels(check)


def _pictures(images: Images, shown: Sequence[LabelError | LabelledImage]) -> tuple[Labels, Pixels]:
    """Positions, in order and each once, and small pictures."""
    indices = np.array(sorted({image.index for image in shown}), np.int64)
    return indices, thumbnails(images, indices)


def _csv_rows(check: LabelCheck) -> Iterator[Sequence[Any]]:
    yield CSV_COLUMNS
    for name, part in check.parts.items():
        for row in part.issues:
            cells = map(plain_cell, (row.id, row.label, row.suggested))
            yield (name, *cells, f"{row.probability:.4f}")
