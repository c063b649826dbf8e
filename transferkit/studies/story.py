"""A comparison told from its beginning, as `transferkit quickstart` does: what was learnt first, and where it ends."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from transferkit.report.content import Content, gather
from transferkit.report.headline import headline
from transferkit.report.inline_images import data_uri
from transferkit.report.page import rendered
from transferkit.report.svg_confusion_matrix import confusion_svg
from transferkit.report.svg_whiskers import track_scale
from transferkit.runs import result_folders
from transferkit.runs.result_folders import STUDY
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import Console
from transferkit.runtime.files import write_text
from transferkit.studies.compare.headlines import comparison_headline
from transferkit.studies.compare.results import Comparison
from transferkit.studies.compare.styles import by_accuracy
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.story import Work, measure_limits

PAGE = "story.html"
TEMPLATE = Path(__file__).parent / "story.html.jinja"
SHOWN = 30  # pictures of each data set
ANSWERS = 3  # classes that unknown images are most often predicted as


def tell(comparison: Comparison, console: Console, command: str) -> Path:
    """Show the best arm's first run the images that were learnt first, and write the story of the study as a page.

    Args:
        comparison: Of a finished study with a run before its arms.
        console: Where the limits are measured.
        command: As it was typed.

    Returns:
        The page.

    Raises:
        TransferkitError: If the study has no run before its arms, or another process works in its folder.
    """
    folder = Path(comparison.folder)
    first, best = _first_run(folder), open_run(by_accuracy(comparison.arms)[0].runs[0])
    settings = LimitsSettings(ood=(first.recipe.data.name,), corruptions="none", leave_out="none", sweeps=False)
    limits = measure_limits(best, settings, None, Work("auto", console, command, overwrite=True))
    with result_folders.hold_results(folder, STUDY):
        write_text(folder / PAGE, story_page(comparison, first, best, limits))
    return folder / PAGE


def _first_run(folder: Path) -> Run:
    return open_run(min(path for path in (folder / "before").iterdir() if path.is_dir()))


def story_page(comparison: Comparison, first: Run, best: Run, limits: LimitsReport) -> str:
    """The story as one HTML file that loads nothing."""
    arms, learnt, result = by_accuracy(comparison.arms), gather(first), gather(best)
    (unknown,) = limits.unknown.sets
    return rendered(
        TEMPLATE,
        command=limits.command,
        comparison=comparison,
        headline=comparison_headline(comparison),
        arms=arms,
        fitted={arm.name: open_run(arm.runs[0]).recipe.method.in_words for arm in arms},
        scale=track_scale([arm.interval for arm in arms]),
        learnt=learnt,
        learnt_in_words=headline(learnt),
        learnt_pictures=pictures(learnt),
        result=result,
        result_pictures=pictures(result),
        labels=best.facts.data.n.train + best.facts.data.n.val if best.facts.data else 0,
        matrix=confusion_svg(result.confusion, result.class_names),
        unknown=unknown,
        answers=[name for name, _ in Counter(unknown.calls.called).most_common(ANSWERS)],
        limits=limits,
        limits_page=f"runs/{best.path.name}/limits/{limits.KIND.page}",
    )


def pictures(content: Content) -> list[tuple[str, str]]:
    """Class and picture, as a data URI, of some test images: as many of every class as there is room for."""
    labels, names = content.test.labels if content.test else None, content.class_names
    if labels is None:
        return []
    per_class = max(1, SHOWN // len(names))
    of_class = [
        [index for index in sorted(content.thumbnails) if labels[index] == label] for label in range(len(names))
    ]
    chosen = [index for indices in of_class for index in indices[:per_class]]
    return [(names[labels[index]], data_uri(content.thumbnails[index])) for index in chosen[:SHOWN]]
