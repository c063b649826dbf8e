"""The field's terms in plain words; how pages explain them is seen in a browser."""

from __future__ import annotations

import re
from pathlib import Path

from transferkit.report.glossary import GLOSSARY, NOT_MARKED, marked_terms
from transferkit.report.page import rendered


def test_every_term_has_one_plain_sentence_or_two() -> None:
    assert len(GLOSSARY) >= 50
    for term, meaning in GLOSSARY.items():
        assert re.fullmatch(r"[A-Z].{20,180}\.", meaning), term


def test_the_longest_term_is_looked_for_first_and_everyday_words_are_not() -> None:
    terms = list(marked_terms())

    assert terms.index("balanced accuracy") < terms.index("recall")
    assert set(GLOSSARY) - set(terms) == NOT_MARKED


def test_every_page_brings_the_terms(tmp_path: Path) -> None:
    (tmp_path / "page.html.jinja").write_text("{% extends 'frame.html.jinja' %}")

    assert 'const GLOSSARY = {"balanced accuracy": "The mean recall' in rendered(tmp_path / "page.html.jinja")
