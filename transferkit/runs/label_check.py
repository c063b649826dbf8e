"""What a check of a run's labels found, as `run.labels` gives it and labels.json holds it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from transferkit.runtime.records import Measure, read_record, write_record

FILE = "labels.json"
NAMED = 5  # on screen; the rest is in labels.csv
SHOWN = 24  # likely errors of each part, in a notebook
Judge = Literal["start", "scratch"]


@dataclass(frozen=True)
class LabelError:
    """An image whose label is likely wrong.

    Attributes:
        index: Position in its image set.
        id: Its name there.
        label: The class it is labelled as.
        suggested: The class suggested instead.
        probability: Of the label it has.
    """

    index: int
    id: str
    label: str
    suggested: str
    probability: float


@dataclass(frozen=True)
class CheckedPart:
    """Train or test images whose labels were checked.

    Attributes:
        n: How many images were checked.
        of: How many there are.
        issues: Images whose label may be wrong, the least probable label first.
        expected: How many would be found if every label were right, for the model's own mistakes; None in checks of
            earlier versions.
    """

    n: int
    of: int
    issues: tuple[LabelError, ...]
    expected: float | None = None

    @property
    def are_likely_errors(self) -> bool:
        """Whether most of what was found is more than the model's own mistakes explain."""
        return self.expected is None or 2 * self.expected < len(self.issues)

    @property
    def kind(self) -> str:
        """What the images are that were found, in words."""
        plural = "" if len(self.issues) == 1 else "s"
        return f"likely label error{plural}" if self.are_likely_errors else f"label{plural} to check"

    @property
    def expected_in_words(self) -> str:
        """How many of them a model that is as often wrong would find among right labels; empty where nobody knows."""
        if self.expected is None or not self.issues:
            return ""
        most = min(round(self.expected), len(self.issues))
        many = f"about {most:,} of them are" if most < len(self.issues) else "all of them are"
        single = "it is not" if self.are_likely_errors else "it is"
        subject = single if len(self.issues) == 1 else many
        return f"{subject} to be expected from the model's own mistakes, were every label right"

    def sentence(self, name: str) -> str:
        """How many were found in this part."""
        expected = f"; {self.expected_in_words}" if self.expected_in_words else ""
        return f"{len(self.issues):,} {self.kind} in {self.n:,} {name} images{expected}."


@dataclass(frozen=True)
class LabelledImage:
    """One image of a part: its position, its name there, and the class it is labelled as."""

    index: int
    id: str
    label: str


@dataclass(frozen=True)
class DuplicatePair:
    """A test image and its like in train.

    Attributes:
        test: The test image.
        train: The training image.
        kind: How the pair was found.
        correlation: Of the two pictures in grey at 16 px, in [-1, 1]; not defined where one has a single colour.
    """

    test: LabelledImage
    train: LabelledImage
    kind: str
    correlation: Measure

    @property
    def is_labelled_alike(self) -> bool:
        """Whether both have one label."""
        return self.test.label == self.train.label


@dataclass(frozen=True)
class CheckedAccuracy:
    """The run's accuracy on the test images that are left without some.

    Attributes:
        of: Which images are left, in words.
        n: How many.
        accuracy: None where none are.
        interval: Wilson's at 95 %: low, high.
    """

    of: str
    n: int
    accuracy: float | None
    interval: tuple[float, float]

    @property
    def words(self) -> str:
        """The accuracy with its interval and n; empty where no image is left."""
        if self.accuracy is None:
            return ""
        low, high = (100 * bound for bound in self.interval)
        return f"{100 * self.accuracy:5.1f} % ({low:.1f} to {high:.1f}), n = {self.n:,}: {self.of}"


@dataclass(frozen=True, repr=False)
class LabelCheck:
    """Likely label errors in train and test, and test images that are also in train.

    Attributes:
        judge: Whose features judged train: "start", of the weights the run started from, or "scratch", its own.
        train: The training images, or the sample of them that was looked at.
        test: The test images.
        duplicates: Test images that are also in train.
        accuracy: On all test images, and without those found.
    """

    judge: Judge
    train: CheckedPart
    test: CheckedPart
    duplicates: tuple[DuplicatePair, ...]
    accuracy: tuple[CheckedAccuracy, ...]

    @property
    def parts(self) -> dict[str, CheckedPart]:
        """Train and test by their names."""
        return {"train": self.train, "test": self.test}

    @property
    def sentences(self) -> list[str]:
        """What was found, a line each."""
        errors = [part.sentence(name) for name, part in self.parts.items()]
        differing = sum(not pair.is_labelled_alike for pair in self.duplicates)
        other = f", {differing:,} of them with another label there" if differing else ""
        images = "images are"
        if len(self.duplicates) == 1:
            images, other = "image is", ", with another label there" if differing else ""
        return [
            *errors,
            f"{len(self.duplicates):,} test {images} also in train{other}.",
            *(f"  {row.words}" for row in self.accuracy if row.accuracy is not None),
        ]

    @property
    def first_issues(self) -> list[str]:
        """The first images of labels.csv, a line each: the part, its name there, its label and what is suggested."""
        issues = ((name, issue) for name, part in self.parts.items() for issue in part.issues)
        return [
            f"  {name}: {issue.id}, labelled {issue.label}, suggested {issue.suggested}"
            for name, issue in islice(issues, NAMED)
        ]

    def __repr__(self) -> str:
        """What was found."""
        return "\n".join(["LabelCheck:", *(f"  {sentence}" for sentence in self.sentences)])

    def _repr_html_(self) -> str:
        """What was found, and a table of the least probable labels, for notebooks."""
        row = Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.3g}</td></tr>")
        rows = [
            row.format(name, error.id, error.label, error.suggested, error.probability)
            for name, part in self.parts.items()
            for error in part.issues[:SHOWN]
        ]
        titles = Markup("<tr><th>part</th><th>image</th><th>label</th><th>suggested</th><th>probability</th></tr>")
        words = Markup("<p>{}</p>").format(Markup("<br>").join(self.sentences))
        return words + Markup("<table>{}{}</table>").format(titles, Markup("").join(rows))


def read_label_check(folder: Path) -> LabelCheck | None:
    """What a check found in a run's folder; None before there was one.

    Raises:
        TransferkitError: If labels.json is damaged; says where.
    """
    path = folder / FILE
    return read_record(path, LabelCheck) if path.exists() else None


def write_label_check(folder: Path, check: LabelCheck) -> None:
    """What a check found, into a run's folder."""
    write_record(folder / FILE, check)
