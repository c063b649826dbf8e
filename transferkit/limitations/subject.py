"""The run under test: its network, its own images again, and what it says about any images, asked only once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferkit import datasets, rejection, runtime
from transferkit.batches import to_device
from transferkit.checkpoint import read_arrays, write_arrays
from transferkit.classifier import Classifier
from transferkit.errors import TransferkitError
from transferkit.images import Images, SealedImages, Splits
from transferkit.limitations.image_sets import sample
from transferkit.outputs import Outputs, collect
from transferkit.prediction import limits_of, load_classifier
from transferkit.rejection import Rejection
from transferkit.run_directory import Run
from transferkit.screen import Screen
from transferkit.solvers import LinearHead

BATCH = 256
CHUNK = 1_000  # images changed together; corruptions are seeded by it

Change = Callable[[Tensor, int], Tensor]  # pixels (B, 3, H, W) uint8 and the index of the first -> the same shape


@dataclass(frozen=True)
class Subject:
    """A finished run, opened for tests.

    Attributes:
        run: The folder.
        classifier: In eval mode, on the device.
        machine: Where it computes.
        images: Train (perhaps a sample), val and test images, as the run's recipe loads them.
        train: Outputs on train, in eval mode, without augmentation.
        val: Outputs of a classifier that has not learnt from val; half of test where the run has no val.
        test: Outputs on test; the other half where there was no val.
        limits: The thresholds that the run ships, or that val gives now.
        notes: Lines that the report must show.
        store: Keeps what the network said.
    """

    run: Run
    classifier: Classifier
    machine: runtime.Runtime
    images: dict[str, Images]
    train: Outputs
    val: Outputs
    test: Outputs
    limits: Rejection
    notes: tuple[str, ...]
    store: OutputStore

    @property
    def side_px(self) -> int:
        """Side of the run's own images, to which all others are brought."""
        return int(min(self.images["test"].size_px))

    @property
    def head(self) -> LinearHead | None:
        """The last layer, where it is linear."""
        return linear_head(self.classifier.head)


def linear_head(head: nn.Module) -> LinearHead | None:
    """Weight and bias of a linear layer in float32; None for any other module."""
    if not isinstance(head, nn.Linear):
        return None
    weight = head.weight.detach().float().cpu()
    bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach().float().cpu()
    return LinearHead(weight, bias)


@dataclass(frozen=True)
class OutputStore:
    """Outputs by what they depend on: weights, preparation, precision and images; each is computed once."""

    folder: Path
    classifier: Classifier
    machine: runtime.Runtime
    screen: Screen
    model_digest: str

    def outputs(self, images: Images, title: str) -> Outputs:
        """What the network says about the images; labels are those of the images where the classes are its own."""
        known = images.class_names == self.classifier.class_names
        asked = images if known else as_unlabelled(images, self.classifier.class_names)
        path = self.folder / f"{self._key(asked.fingerprint)}.safetensors"
        if path.exists():
            return replace(Outputs.load(path), labels=asked.labels, ids=asked.ids)
        found = collect(self.classifier, asked, self.machine, self.screen, title, BATCH)
        found.save(path)
        return found

    def changed(self, images: Images, change: Change, name: str) -> Outputs:
        """What the network says about images after a change that `name` describes in full; features are not kept."""
        return self.judged(images, change, name, rejection.fit(None))[0]

    def judged(
        self, images: Images, change: Change, name: str, limits: Rejection
    ) -> tuple[Outputs, npt.NDArray[np.float64]]:
        """The same, and how unusual each changed image is to the score that the run ships."""
        against = f", {limits.score} of {len(limits.bank)} images" if limits.bank is not None else ""
        path = self.folder / f"{self._key(images.fingerprint, name + against)}.changed.safetensors"
        if not path.exists():
            said = [(part.logits, limits.scores(part)) for part in self._said(images, change, name)]
            logits, scores = (np.concatenate(parts) for parts in zip(*said, strict=True))
            write_arrays(path, {"logits": logits, "scores": scores})
        arrays, _ = read_arrays(path)
        nothing = np.zeros((len(images), 0), np.float32)
        found = Outputs(nothing, arrays["logits"], images.labels, images.ids, self.classifier.class_names)
        return found, arrays["scores"]

    def _said(self, images: Images, change: Change, name: str) -> Iterator[Outputs]:
        """Outputs of one batch after another, all labels 0."""
        self.classifier.eval()
        with torch.inference_mode():
            for start in range(0, len(images), CHUNK):
                pixels = to_device(images.take(slice(start, start + CHUNK)), self.machine.device)
                for batch in torch.split(change(pixels, start), BATCH):
                    with self.machine.autocast():
                        features = self.classifier.features(batch.to(self.machine.device))
                        logits = self.classifier.head(features)
                    values = (features.float().cpu().numpy(), logits.float().cpu().numpy())
                    ids = (name,) * len(batch)
                    yield Outputs(*values, np.zeros(len(batch), np.int64), ids, self.classifier.class_names)

    def _key(self, fingerprint: str, change: str = "") -> str:
        spec = asdict(self.classifier.input_spec)
        parts = [self.model_digest, spec, self.machine.precision, self.machine.device.type, fingerprint, change]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def as_unlabelled(images: Images, class_names: tuple[str, ...]) -> Images:
    """The images under a model's class names, every label 0: nothing may be read from these labels."""
    return replace(images, labels=np.zeros(len(images), np.int64), class_names=class_names)


def open_subject(run: Run, folder: Path, train_images: int, seed: int, device: str, screen: Screen) -> Subject:
    """The run's network and images; outputs of train are computed, those of val and test are the stored ones.

    Raises:
        TransferkitError: If the images are no longer those that the run was made with.
    """
    splits = same_images(run, screen)
    machine = runtime.start(device, run.recipe.precision, run.recipe.threads)
    classifier = load_classifier(run).to(machine.device).eval()
    digest = classifier.digest([*classifier.stages, "head"])
    store = OutputStore(folder / "outputs", classifier, machine, screen, digest)
    notes = [*machine.notes]
    train_part = sample(splits.train, train_images, seed)
    if len(train_part) < len(splits.train):
        notes.append(f"detectors that need train images use {len(train_part):,} of {len(splits.train):,} (seed {seed})")
    images = {"train": train_part, "val": splits.val, "test": splits.test.open()}
    train = store.outputs(train_part, "train images")
    test = run.outputs("test")
    if len(splits.val):
        val = run.outputs("val")
    else:
        val, test, note = halves(test, seed)
        half = {name: index for index, name in enumerate(images["test"].ids)}
        images["val"] = images["test"].subset([half[name] for name in val.ids])
        images["test"] = images["test"].subset([half[name] for name in test.ids])
        notes.append(note)
    shipped = limits_of(run)
    if shipped is None or not shipped.n:
        notes.append("the run has no val images, so that `predict` never answers unknown; the threshold here does")
        shipped = rejection.fit(val, shipped.bank if shipped else None)
    if shipped.score_words:
        notes.append(shipped.score_words)
    return Subject(run, classifier, machine, images, train, val, test, shipped, tuple(notes), store)


def same_images(run: Run, screen: Screen) -> Splits:
    """The run's images, loaded again as its recipe says.

    Raises:
        TransferkitError: If a part has other images, labels or classes than when the run was made.
    """
    splits = datasets.load(run.recipe.data, screen)
    expected = run.facts["data"]["fingerprint"]
    parts: dict[str, Images | SealedImages] = {"train": splits.train, "val": splits.val, "test": splits.test}
    changed = [name for name, part in parts.items() if part.fingerprint != expected.get(name)]
    if changed:
        raise TransferkitError(
            f"The {' and '.join(changed)} images are not those that {run.path} was made with: files of "
            f"{run.recipe.title}'s data were added, removed or changed since. Restore them, or make the run again."
        )
    return splits


def halves(test: Outputs, seed: int) -> tuple[Outputs, Outputs, str]:
    """Test split into two stratified halves, the first to set thresholds with; and the line that says so."""
    generator = np.random.default_rng(seed)
    first = np.zeros(len(test), dtype=bool)
    for label in range(len(test.class_names)):
        order = generator.permutation(np.flatnonzero(test.labels == label))
        first[order[: len(order) // 2]] = True
    note = f"the run has no val images: half of its test images set the thresholds (stratified, seed {seed})"
    return rows(test, first), rows(test, ~first), note


def rows(outputs: Outputs, kept: np.ndarray) -> Outputs:
    """Some of the images, by index or by mask."""
    indices = np.flatnonzero(kept) if kept.dtype == bool else kept
    ids = tuple(outputs.ids[index] for index in indices)
    parts = (outputs.features[indices], outputs.logits[indices], outputs.labels[indices])
    return Outputs(*parts, ids, outputs.class_names)
