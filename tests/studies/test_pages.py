"""`transferkit report FOLDER`: every kind of folder has something that builds its pages again."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferkit.runs import result_folders
from transferkit.runs.result_folders import Kind
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text
from transferkit.studies import pages


def test_every_kind_of_folder_is_on_the_menu() -> None:
    kinds = {kind.name for kind in vars(result_folders).values() if isinstance(kind, Kind)}

    assert len(kinds) >= 6
    assert set(pages.REBUILD) == {*kinds, "run"}
    assert set(pages.DRAW) <= set(pages.REBUILD)


@pytest.mark.parametrize("kind", pages.KINDS, ids=lambda kind: kind.name)
def test_the_pages_of_a_folder_are_built_by_the_entry_of_its_kind(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    with result_folders.claim(folder, kind, overwrite=False):
        write_text(folder / kind.result, "{}")
    monkeypatch.setitem(pages.REBUILD, kind.name, lambda where: f"{kind.name} in {where.name}")

    assert pages.rebuild_pages(folder) == f"{kind.name} in results"


def test_a_folder_without_figures_says_which_have_them(tmp_path: Path) -> None:
    with result_folders.claim(tmp_path / "r", result_folders.RANKING, overwrite=False):
        write_text(tmp_path / "r" / "ranking.json", "{}")

    with pytest.raises(
        TransferkitError, match="no figure 'curve' here: figures are drawn of runs and label curves, and"
    ):
        pages.draw_figure(tmp_path / "r", "curve", tmp_path / "curve.pdf")


def test_a_folder_of_nothing_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"is no run: it has no recipe\.yaml"):
        pages.rebuild_pages(tmp_path)
