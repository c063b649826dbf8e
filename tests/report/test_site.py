"""One static site of many runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from command_line import refused, transferkit
from synthetic_runs import finished_run

from transferkit import report
from transferkit.runs.run_directory import LIMITS_FOLDER

STRANGE = "<b>x & y#1?"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if tag == "a" and name == "href"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for place in ("runs/a/run", "runs/b/Run", f"runs/{STRANGE}"):
        finished_run(folder / place)
    run = finished_run(folder / "runs/with-page")
    limits = run.path / LIMITS_FOLDER
    limits.mkdir()
    (limits / "limits.html").write_text("its limits")
    report.write(run)
    transferkit("runs", "bundle", "site", cwd=folder)
    return folder


def test_every_link_of_the_index_leads_to_a_page_of_the_site(home: Path) -> None:
    links = Links()
    links.feed((home / "site/index.html").read_text())

    assert len(links.addresses) == 5  # four pages and one of limits
    assert not [address for address in links.addresses if address.startswith(("/", "file:", "http", ".."))]
    assert all((home / "site" / unquote(address)).is_file() for address in links.addresses)


def test_the_limits_page_lies_where_the_link_of_its_report_leads(home: Path) -> None:
    links, place = Links(), home / "site/runs/with-page"
    links.feed((place / "report.html").read_text())
    linked = [address for address in links.addresses if not address.startswith("#")]

    assert linked == ["limits/limits.html"]
    assert (place / linked[0]).read_text() == "its limits"


def test_runs_of_one_name_get_folders_of_their_own(home: Path) -> None:
    names = sorted(path.name for path in (home / "site/runs").iterdir())

    assert sorted(name.casefold() for name in names) == [STRANGE, "run", "run-2", "with-page"]


def test_names_are_text_and_never_markup(home: Path) -> None:
    index = (home / "site/index.html").read_text()

    assert "<b>x" not in index
    assert "&lt;b&gt;x &amp; y#1?" in index
    assert "%23" in index  # in an address a # would end the path


def test_the_site_loads_nothing(home: Path) -> None:
    for page in (home / "site").rglob("*.html"):
        assert not re.search(r'(src|href)="(https?:)?//', page.read_text())


def test_a_site_is_replaced_only_when_asked(home: Path) -> None:
    assert "already holds a site" in refused(transferkit("runs", "bundle", "site", cwd=home))
    only = transferkit("runs", "bundle", "site2", "runs/with-page", cwd=home)
    assert only.stdout == "1 run: site2/index.html\n"
    again = transferkit("runs", "bundle", "site2", "--overwrite", cwd=home)
    assert again.stdout == "4 runs: site2/index.html\n"


def test_a_folder_with_other_files_is_left_alone(home: Path) -> None:
    (home / "mine").mkdir()
    (home / "mine/letter.txt").write_text("dear")

    assert "holds other files" in refused(transferkit("runs", "bundle", "mine", "--overwrite", cwd=home))
    assert "holds a run and is no site" in refused(transferkit("runs", "bundle", "runs/with-page", cwd=home))
