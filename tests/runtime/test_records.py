"""Records as JSON: what is written is what is read, and damage is told with its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.records import as_json, from_json, read_record, read_record_lines, write_record


@dataclass(frozen=True)
class Score:
    accuracy: float
    interval: tuple[float, float]
    p: float | None = None


@dataclass(frozen=True)
class Table:
    rows: tuple[Score, ...]
    names: dict[str, str]
    best: Score | None = None


GOOD: dict[str, Any] = {"rows": [{"accuracy": 1, "interval": [0.5, 1]}], "names": {"a": "b"}}


def test_a_record_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    table = Table((Score(0.5, (0.25, 0.75), 0.1),), {"a": "b"}, Score(1.0, (0.5, 1.0)))

    write_record(tmp_path / "table.json", table)

    assert read_record(tmp_path / "table.json", Table) == table


def test_a_number_that_is_not_defined_is_written_as_none() -> None:
    assert as_json(Score(0.5, (0.0, 1.0), float("nan"))) == {"accuracy": 0.5, "interval": [0.0, 1.0], "p": None}


def test_keys_of_other_versions_are_passed_over_and_those_with_a_default_may_be_missing() -> None:
    assert from_json({**GOOD, "new": 5}, Table, "x") == Table((Score(1.0, (0.5, 1.0)),), {"a": "b"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 5}, "rows is 5, expected a list"),
        ({"rows": [{"interval": [0, 1]}]}, "rows.0.accuracy is missing"),
        ({"rows": [{"accuracy": True, "interval": [0, 1]}]}, "rows.0.accuracy is True, expected float"),
        ({"rows": [{"accuracy": "1", "interval": [0, 1]}]}, "rows.0.accuracy is '1', expected float"),
        ({"rows": [{"accuracy": 1, "interval": None}]}, "rows.0.interval is None, expected a list"),
        ({"rows": [{"accuracy": 1, "interval": [0]}]}, "rows.0.interval.1 is missing"),
        ({"names": {"a": 1}}, "names.a is 1, expected str"),
        ({"best": []}, "best is [], expected an object"),
        ({"rows": [{"accuracy": 1, "interval": [0, 1], "p": "x"}]}, "rows.0.p is 'x', expected float"),
        ({"names": {"a": "\ud800"}}, "it holds half a character, which no text has"),
    ],
)
def test_a_value_of_another_type_is_told_with_its_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TransferkitError) as caught:
        from_json({**GOOD, **changes}, Table, "table.json")

    assert str(caught.value) == f"table.json is damaged: {words}."


def test_a_value_that_is_no_object_at_all_is_shown() -> None:
    with pytest.raises(TransferkitError, match=r"x is damaged: the whole is \[\], expected an object"):
        from_json([], Table, "x")


def test_a_place_names_keys_of_the_file_and_no_types_of_ours() -> None:
    @dataclass(frozen=True)
    class Choice:
        best: Score | Table

    with pytest.raises(TransferkitError, match=r"x is damaged: best\.interval is missing"):
        from_json({"best": {"accuracy": 1}}, Choice, "x")


def test_a_line_of_another_type_is_told_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text('{"accuracy": 1, "interval": [0, 1]}\n{"accuracy": 1e999}\n')

    with pytest.raises(TransferkitError, match=r"scores\.jsonl, line 2 is damaged"):
        read_record_lines(tmp_path / "scores.jsonl", Score)
