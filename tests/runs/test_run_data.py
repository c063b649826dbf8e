"""What a run says of its images before anything else."""

from __future__ import annotations

from transferkit.data.split_facts import ClassCounts, SplitFacts
from transferkit.runs.facts import Fingerprints, ImageCounts, RunData
from transferkit.runs.run_data import classes_in_words, in_words


def data(parts: SplitFacts | None) -> RunData:
    return RunData("folder", Fingerprints("a", "b", "c"), ImageCounts(24, 6, 1_000), (32, 48), parts=parts)


def test_a_run_begins_with_classes_parts_and_images_of_each_class() -> None:
    parts = SplitFacts(("cat", "dog"), ClassCounts((12, 12), (3, 3), (500, 500)))

    first, second = in_words(data(parts))

    assert first == "data: 2 classes; 24 train, 6 val and 1,000 test images of 32 x 48 px"
    assert second == "  each class: 12 train, 3 val, 500 test"


def test_images_of_many_classes_fit_80_columns() -> None:
    names = tuple(f"a rather long name {number}" for number in range(20))
    counts = ClassCounts(tuple(range(20)), (), tuple(range(20)))

    _, lines = in_words(data(SplitFacts(names, counts)))

    assert max(map(len, lines.splitlines())) <= 80
    assert "a rather long name 19 19/19" in " ".join(lines.split())


def test_of_more_than_20_classes_the_fewest_and_the_most_images_are_said() -> None:
    names = tuple(map(str, range(21)))

    words = classes_in_words(names, ClassCounts(tuple(range(3, 24)), (1,) * 21, (5,) * 21))

    assert words == "images per class: 3 to 23 train, 1 to 1 val, 5 to 5 test"
