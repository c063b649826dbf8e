"""Numbers in messages agree with their nouns."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import transferkit
from transferkit.runtime.plurals import counted

PACKAGE = Path(transferkit.__file__).parent
NOUNS = re.compile(
    r" ((test|train|val|training|labelled|readable|own|class) )?(images|files|folders|labels|classes|groups|runs|arms|"
    r"backbones|rows|columns|values|names|shards|steps|epochs|seeds|layers|answers|parameters|characters|bytes)\b(?P<rest>.*)",
    re.DOTALL,
)
PLURAL_VERB = re.compile(
    r" (are|have|were|hold|lie|take|read as)\b"
)  # then the sentence agrees with the plural as a whole


def test_one_of_something_is_no_plural() -> None:
    assert (counted(1, "file"), counted(0, "file"), counted(2, "class", "classes")) == (
        "1 file",
        "0 files",
        "2 classes",
    )


def test_a_number_before_a_plural_is_counted() -> None:
    """Lengths and whole numbers with separators, which may be 1, in every f-string of the package."""
    files = sorted(PACKAGE.rglob("*.py"))

    wrong = [f"{path.relative_to(PACKAGE)}: {words}" for path in files for words in plurals_written_out(path)]

    assert len(files) > 500
    assert wrong == []


def plurals_written_out(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for number, words in pairwise(parts):
            text = words.value if isinstance(words, ast.Constant) else ""
            if is_a_count(number) and (match := NOUNS.match(text)) and not PLURAL_VERB.match(match["rest"]):
                yield f"{ast.unparse(number)}{text}"


def is_a_count(part: ast.expr) -> bool:
    """A length, or a whole number with separators; constants of the code, which have a value, are neither."""
    if not isinstance(part, ast.FormattedValue):
        return False
    value = part.value
    is_length = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "len"
    is_separated = part.format_spec is not None and ast.unparse(part.format_spec) == "f','"
    name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
    return (is_length or is_separated) and not name.isupper()
