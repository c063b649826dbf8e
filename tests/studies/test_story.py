"""The story of the quickstart: what was learnt first, what is asked, how well, and what the winner says to letters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import transferkit

from transferkit.report.content import gather
from transferkit.runs.run_directory import open_run
from transferkit.studies.compare.results import Comparison, read_comparison
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.story import SHOWN, pictures

BRIEF = ("seeds=2", "before.letters.method.epochs=1", "arms.transfer.method.epochs=2", "arms.scratch.method.epochs=2")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quickstart with few epochs."""
    place = tmp_path_factory.mktemp("quickstart")
    result = transferkit("quickstart", *BRIEF, "--out", "study", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "The whole story, to be projected: study/story.html" in result.stdout
    assert "Next, your own photos: transferkit finetune timm/tf_efficientnet_lite0" in result.stdout
    return place / "study"


@pytest.mark.slow
def test_the_story_gives_the_numbers_of_comparison_and_limits(told: Path) -> None:
    page = re.sub(r"\s+", " ", (told / "story.html").read_text(encoding="utf-8")).replace("\N{NO-BREAK SPACE}", " ")
    comparison = read_comparison(told)
    assert isinstance(comparison, Comparison)
    best = max(comparison.arms, key=lambda arm: arm.mean)
    (unknown,) = LimitsReport.read(told / "runs" / f"{best.name}-seed0" / "limits").unknown.sets
    assert unknown.accepted is not None

    assert "1. What was learnt first: 26 classes of glyphs" in page
    assert "2. What is asked: 10 classes of digits, from 30 labelled images" in page
    assert all(f"<b>{100 * arm.mean:.1f}</b>" in page for arm in comparison.arms)
    assert f"4. What {best.name}-seed0 mixes up" in page
    assert f"It was shown {unknown.n:,} images of glyphs" in page
    assert f"It rejected {100 * (1 - unknown.accepted.value):.1f} % of them as unknown" in page


@pytest.mark.slow
def test_the_story_shows_every_class_of_both_data_sets(told: Path) -> None:
    letters = pictures(gather(open_run(told / "before" / "letters")))
    digits = pictures(gather(open_run(told / "runs" / "scratch-seed0")))

    assert [name for name, _ in letters] == [chr(ord("A") + number) for number in range(26)]
    assert [name for name, _ in digits] == [str(digit) for digit in range(10) for _ in range(SHOWN // 10)]


@pytest.mark.slow
def test_the_story_links_to_pages_that_are_there(told: Path) -> None:
    links = re.findall(r'href="([^"#:]+)"', (told / "story.html").read_text(encoding="utf-8"))

    assert len(links) == 2
    assert all((told / link).is_file() for link in links)
