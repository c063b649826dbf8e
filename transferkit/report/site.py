"""Many runs as one static site: an index, and each run's page and limits; it works from a disk and loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from transferkit.report.content import gather
from transferkit.report.number_words import age
from transferkit.report.page import page, rendered
from transferkit.runs import result_folders
from transferkit.runs.limits_findings import LIMITS_PAGE
from transferkit.runs.listing import ListedRun
from transferkit.runs.result_folders import SITE
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_text, write_text
from transferkit.runtime.folders import ensure_folder
from transferkit.runtime.records import read_record, write_record

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class SiteEntry:
    """One run of the site.

    Attributes:
        run: What the list says of it.
        name: Of its folder in the site.
        pages: Files of that folder, with what they show.
    """

    run: ListedRun
    name: str
    pages: tuple[tuple[str, str], ...]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Addresses of the pages relative to the index, with what they show."""
        return [(quote(f"runs/{self.name}/{file}"), words) for file, words in self.pages]


@dataclass(frozen=True)
class Site:
    """What index.json of a site holds."""

    runs: tuple[SiteEntry, ...]


def write_site(folder: Path, runs: Sequence[ListedRun], *, overwrite: bool = False) -> Site:
    """Write the site of these runs to a folder; the runs stay as they are.

    Raises:
        TransferkitError: If there is no run, the folder holds something else, or a site and `overwrite` is not set.
    """
    if not runs:
        raise TransferkitError("There is no finished run to show. `transferkit runs` lists those that there are.")
    with result_folders.claim(folder, SITE, overwrite=overwrite):
        result_folders.clear_results(folder)
        names = _names([Path(run.path).resolve().name for run in runs])
        site = Site(tuple(_write_entry(folder, run, name) for run, name in zip(runs, names, strict=True)))
        write_record(folder / SITE.result, site)
        return write_index(folder)


def write_index(folder: Path) -> Site:
    """Make the index of a site from its index.json alone; it loads nothing, and links to the pages of the runs.

    Raises:
        TransferkitError: If that is damaged.
    """
    site = read_record(folder / SITE.result, Site)
    write_text(folder / SITE.page, rendered(FOLDER / "site.html.jinja", site=site, age=age))
    return site


def _names(wanted: Sequence[str]) -> list[str]:
    """The names, those that come again with a number behind them; systems that ignore case count as well."""
    names: list[str] = []
    for name in wanted:
        taken = {other.casefold() for other in names}
        numbered = (name, *(f"{name}-{number}" for number in range(2, len(wanted) + 2)))
        names.append(next(choice for choice in numbered if choice.casefold() not in taken))
    return names


def _write_entry(folder: Path, run: ListedRun, name: str) -> SiteEntry:
    place = ensure_folder(folder / "runs" / name)
    written = []
    for file, words, text in _pages(Run(Path(run.path))):
        write_text(place / file, text)
        written.append((file, words))
    return SiteEntry(run, name, tuple(written))


def _pages(run: Run) -> Iterator[tuple[str, str, str]]:
    """File, what it shows, and its text: the page as it is stored, or as it would be."""
    yield "report.html", "report", read_text(run.path / "report.html") if run.has_page else page(gather(run))
    limits = run.path / LIMITS_PAGE
    if limits.exists():
        yield LIMITS_PAGE, "limits", read_text(limits)  # where the report's link looks for it
