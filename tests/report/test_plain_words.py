"""Words that no page, message or document of the project uses, as a native reader would stumble over them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted(
    path
    for pattern in ("transferkit/**/*.py", "transferkit/**/*.jinja", "transferkit/**/*.js", "docs/*.md", "README.md")
    for path in ROOT.glob(pattern)
)
INSTEAD = {
    r"network said": "the predicted class, the outputs",
    r"(?:are|is|often|ever|be|“|was) taken for|columns? taken for|taken for another": "predicted as, mistaken for",
    r"” (?:was )?called|true .{0,3} called|>called<|mostly called|each class is called": "predicted as",
    r"called unknown": "rejected as unknown",
    r"[Nn]ear misses": "least confident correct answers",
    r"most alike": "most similar",
    r"spoke for": "the regions that supported the prediction",
    r"promises? too much|promises more than": "overconfident",
    r"[Nn]o winner|share the first place": "no clear winner: a and b cannot be told apart",
    r"\b[Mm]end(?:ed|s)?\b (?:or|it|them)": "fix",
    r"little too good": "slightly optimistic",
}


@pytest.mark.parametrize("phrase", INSTEAD, ids=list(INSTEAD.values()))
def test_a_stumbling_phrase_is_written_nowhere(phrase: str) -> None:
    assert len(TEXTS) > 250

    places = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in TEXTS
        for match in re.finditer(phrase, re.sub(r"\s+", " ", path.read_text(encoding="utf-8")))
    ]

    assert places == [], f"write instead: {INSTEAD[phrase]}"
