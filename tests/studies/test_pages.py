"""`transferkit report FOLDER`: every kind of folder has something that builds its pages again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import study

import transferkit
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
    with result_folders.claim(tmp_path / "r", result_folders.TUNING, overwrite=False):
        write_text(tmp_path / "r" / result_folders.TUNING.result, "{}")

    with pytest.raises(
        TransferkitError, match="no figure 'curve' here: figures are drawn of runs, comparisons, label curves, rankings"
    ):
        pages.draw_figure(tmp_path / "r", "curve", tmp_path / "curve.pdf")


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    with result_folders.claim(tmp_path / "c", result_folders.COMPARISON, overwrite=False):
        study(tmp_path / "c", ("scratch_1", "fine & tune")).write(tmp_path / "c")
    return tmp_path / "c"


def test_the_arms_of_a_comparison_are_a_booktabs_table(compared: Path) -> None:
    pages.write_paper_table(compared, "arms", compared.parent / "arms.tex")

    text = (compared.parent / "arms.tex").read_text(encoding="utf-8")
    assert text.startswith("\\begin{tabular}{lrrrrrr}\n\\toprule\n")
    assert r"fine \& tune & 82.0 $\pm$ 0.4 & 81.0 to 83.0 & +3.1 & +1.2 to +5.0 & 0.012 & 3 \\" in text
    assert r"scratch\_1 & 82.0 $\pm$ 0.4 & 81.0 to 83.0 & reference" in text


def test_a_table_of_another_name_or_kind_of_file_is_refused(compared: Path) -> None:
    with pytest.raises(TransferkitError, match=r"There is no table 'backbones' in .*: it has arms"):
        pages.write_paper_table(compared, "backbones", compared.parent / "b.csv")
    with pytest.raises(TransferkitError, match=r"Cannot write a table as 'arms\.xls'. Expected .* in .tex or .csv"):
        pages.write_paper_table(compared, "arms", compared.parent / "arms.xls")


def test_a_comparison_has_a_figure_of_its_costs(compared: Path) -> None:
    pages.draw_figure(compared, "cost", compared.parent / "cost.svg")

    assert "fine &amp; tune" in (compared.parent / "cost.svg").read_text(encoding="utf-8")
    with pytest.raises(TransferkitError, match=r"No arm of .* knows operations of training"):
        pages.draw_figure(compared, "training", compared.parent / "training.svg")
    with pytest.raises(TransferkitError, match="no figure 'costs' here: a comparison has cost, training, operations"):
        pages.draw_figure(compared, "costs", compared.parent / "costs.svg")


def test_a_folder_of_nothing_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"is no run: it has no recipe\.yaml"):
        pages.rebuild_pages(tmp_path)


def test_a_result_is_read_again_from_the_folder_that_is_named(compared: Path) -> None:
    result = transferkit.Comparison.read(str(compared))

    assert result == study(compared, ("scratch_1", "fine & tune"))
    assert repr(result) == f"Comparison: {result.verdict}\nReport: {result.folder}/report.html"


def test_a_folder_without_such_a_result_is_an_error_that_names_the_file(compared: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Cannot read .*ranking\.json: No such file"):
        transferkit.Ranking.read(compared)


# ------------------------------------------------------------------------------------------------ what was stopped


ARMS = """
name: cmp
common: {data: digits, backbone: {name: resnet18, weights: none}}
arms: {probe: {method: probe}, finetune: {method: finetune}}
reference: probe
seeds: 2
"""
CURVE = f"{ARMS}labels: [5, 10, 20]\nbudget: 30steps\n"
BACKBONES = "{data: digits, backbones: [resnet18, resnet34, vgg11]}"
STOPPED = [  # what was asked, a finished part, what it will be, and how much is done
    (result_folders.STUDY, ARMS, "runs/probe-seed0/evaluation.json", "comparison", "1 of its 4 runs"),
    (result_folders.STUDY, CURVE, "runs/probe-5-seed1/evaluation.json", "label curve", "1 of its 12 runs"),
    (result_folders.RANKING, BACKBONES, "backbones/1-resnet18.safetensors", "ranking", "1 of its 3 backbones"),
]


@pytest.mark.parametrize(("kind", "asked", "part", "whole", "done"), STOPPED)
def test_what_was_stopped_says_how_much_is_done_and_how_to_go_on(
    kind: Kind, asked: str, part: str, whole: str, done: str, tmp_path: Path
) -> None:
    folder = tmp_path / "cmp"
    with result_folders.claim(folder, kind, overwrite=False):
        write_text(folder / f"{kind.name}.yaml", asked)
        (folder / part).parent.mkdir(parents=True)
        write_text(folder / part, "{}")
    table = next(iter(pages.TABLES[kind.name]))
    message = (
        f"The {whole} in {folder} is unfinished: {done} are done. Where it was stopped, the same command again goes on."
    )

    for report in (
        lambda: pages.rebuild_pages(folder),
        lambda: pages.draw_figure(folder, "cost", tmp_path / "cost.pdf"),
        lambda: pages.write_paper_table(folder, table, tmp_path / "table.tex"),
    ):
        with pytest.raises(TransferkitError, match=f"^{re.escape(message)}$"):
            report()


def test_a_stopped_tuning_says_that_it_is_unfinished(tmp_path: Path) -> None:
    with result_folders.claim(tmp_path / "t", result_folders.TUNING, overwrite=False):
        write_text(tmp_path / "t" / "tuning.yaml", "base: {}")

    with pytest.raises(TransferkitError, match=r"^The tuning in .* is unfinished\. Where it was stopped"):
        pages.rebuild_pages(tmp_path / "t")


@pytest.mark.parametrize(
    "asked", [pages.require_results, lambda place: pages.draw_figure(place, "cost", place / "a.pdf")]
)
def test_what_a_folder_is_comes_before_what_is_asked_of_it(asked: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="is no run"):
        asked(tmp_path)
