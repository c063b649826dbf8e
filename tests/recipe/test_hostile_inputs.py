"""Whatever comes from a stranger ends in a result or in one of our errors, short and within seconds.

200 inputs of each kind from fixed seeds run every time; with `-m slow` 20,000 of each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile_images
import hostile_recipes
import hostile_tables
import pytest
from hostile_recipes import Hostile
from PIL import Image

from transferkit import recipe
from transferkit.data.datasets.folder import load
from transferkit.data.decoding import decode, short_side
from transferkit.features.extraction.sources import from_csv
from transferkit.recipe import FolderData
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

COUNTS = [200, pytest.param(20_000, marks=pytest.mark.slow)]
MOST_SECONDS, LONGEST_MESSAGE = 5.0, 4000
pytestmark = [pytest.mark.parametrize("count", COUNTS), pytest.mark.filterwarnings("ignore::UserWarning:PIL")]


class Tally:
    """How many inputs were taken and refused, the slowest, the longest message; another error than ours ends a test."""

    def __init__(self) -> None:
        self.taken = self.refused = 0
        self.slowest, self.longest = 0.0, 0

    @contextmanager
    def input(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
            self.taken += 1
        except TransferkitError as error:
            self.refused += 1
            self.longest = max(self.longest, len(str(error)))
        self.slowest = max(self.slowest, time.perf_counter() - started)

    def require(self, count: int) -> None:
        """Some of both kinds, no input slow, no message long."""
        assert min(self.taken, self.refused) >= count // 20
        assert self.slowest < MOST_SECONDS
        assert self.longest < LONGEST_MESSAGE


def read_and_written(hostile: Hostile) -> None:
    """Read a recipe as the command line does; what was taken reads back as the same."""
    values = recipe.parse_yaml(hostile.text, "my.yaml")
    if not isinstance(values, dict):
        raise TransferkitError("my.yaml holds no recipe.")
    taken = recipe.parse_any(recipe.overridden(values, hostile.overrides), "my.yaml")

    text = taken.to_yaml()

    assert recipe.parse_any(recipe.parse_yaml(text, "written"), "written") == taken
    assert text.encode("utf-8")


def test_recipes_and_overrides(count: int) -> None:
    tally = Tally()

    for hostile in hostile_recipes.recipes(0, count):
        with tally.input():
            read_and_written(hostile)

    tally.require(count)


def test_images(count: int, tmp_path: Path) -> None:
    tally, path = Tally(), tmp_path / "photo.jpg"

    for content in hostile_images.images(0, count):
        path.write_bytes(content)
        with tally.input():
            short_side(path)
            decode(path, 32, "squash")

    tally.require(count)


def test_tables(count: int, tmp_path: Path) -> None:
    tally, table = Tally(), tmp_path / "list.csv"
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo.jpg")

    for content in hostile_tables.tables(0, count):
        table.write_bytes(content)
        with tally.input():
            load(FolderData(name="folder", path=table, storage=8, skip_bad=True, val_fraction=0.3), SILENT)
        with tally.input():
            list(from_csv(table).lines())

    tally.require(count)
