"""The limits page on paper, in a real browser."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import browser as browser
from browsers import find, opened
from limits_reports import calm, changed, error_slice

from transferkit.runtime.records import as_json
from transferkit.studies.limits.page import limits_page
from transferkit.studies.limits.settings import Rules
from transferkit.studies.limits.summary import summary


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with error slices."""
    report = changed(calm(), "slices/rows", [as_json(error_slice())] * 5)
    report = replace(report, summary=summary(report, Rules()))
    path = Path(tmp_path_factory.mktemp("limits")) / "limits.html"
    path.write_text(limits_page(report, np.zeros((0, 3, 1, 1), np.uint8)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.slow
def test_a_limits_page_prints_what_is_open_on_at_most_five_pages(browser: Any, page: str) -> None:
    opened(browser, page)

    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = {name: find(browser, f"#{name}").is_displayed() for name in ("own", "slices", "contract", "rules")}
    told = find(browser, ".printed").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    assert 1 <= len(re.findall(rb"/Type /Page\b", printed)) <= 5
    assert shown == {"own": True, "slices": True, "contract": False, "rules": False}
    assert told


def test_a_heading_on_paper_stays_with_what_it_heads(browser: Any, page: str) -> None:
    opened(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    kept = browser.execute_script(
        "return [...document.querySelectorAll('details.fold[open] > summary, details.fold[open] h3')]"
        ".map((heading) => getComputedStyle(heading).breakAfter)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    assert len(kept) >= 5
    assert set(kept) == {"avoid"}
