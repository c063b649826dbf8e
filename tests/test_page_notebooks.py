"""The notebooks in docs/notebooks: they say what their pages say, they were executed, they are small."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = runpy.run_path(str(ROOT / "tools" / "notebooks.py"))
LESSONS, LINK, FOLDER = NOTEBOOKS["LESSONS"], NOTEBOOKS["LINK"], NOTEBOOKS["FOLDER"]
REFUSED = {"lab-1-convolution": 1, "production": 1}  # commands whose error the page explains


def printed(notebook: dict) -> list[str]:
    outputs = [output for cell in notebook["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
    return [line for output in outputs for line in output.get("text", [])]


def test_notebooks_say_what_their_pages_say() -> None:
    assert NOTEBOOKS["stale"]() == [], "run python tools/notebooks.py"


def test_tutorials_and_lab_sheets_lead_to_their_notebooks() -> None:
    sheets = {page.stem for page in (ROOT / "docs").glob("lab-*.md")}

    assert len(sheets) == 5
    assert (
        set(LESSONS)
        == sheets | {"first-model", "not-photos", "paper-table", "production"}
        == {path.stem for path in FOLDER.iterdir()}
    )
    for name in LESSONS:
        assert LINK.format(name=name) in (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_committed_notebooks_were_executed_and_are_small() -> None:
    for name in LESSONS:
        cells = [cell for cell in NOTEBOOKS["committed"](name)["cells"] if cell["cell_type"] == "code"]
        assert len(cells) >= 3
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
        assert (FOLDER / f"{name}.ipynb").stat().st_size < 200_000


def test_what_refuses_in_a_notebook_is_what_its_page_explains() -> None:
    for name in LESSONS:
        errors = [line for line in printed(NOTEBOOKS["committed"](name)) if line.startswith("error:")]
        assert len(errors) == REFUSED.get(name, 0), errors


def test_notebooks_name_no_folder_of_the_machine_that_ran_them() -> None:
    for name in LESSONS:
        text = "".join(printed(NOTEBOOKS["committed"](name)))
        assert "/tmp" not in text
        assert "\x1b" not in text


def test_every_command_of_a_block_becomes_a_cell_without_what_it_printed() -> None:
    lesson = NOTEBOOKS["Lesson"](words={"PICTURE": "picture.png"})
    block = "$ transferkit convolve PICTURE \\\n      --stride 2\nMap: 3 x 3\n$ transferkit doctor\n"

    sources = NOTEBOOKS["_sources"]("text", block, lesson)

    assert sources == ["!transferkit convolve picture.png \\\n      --stride 2", "!transferkit doctor"]


@pytest.mark.parametrize("block", ["my-images/\n    banded/\n", "$ transferkit serve RUN\n"])
def test_what_is_no_command_or_never_ends_stays_text(block: str) -> None:
    assert NOTEBOOKS["_sources"]("text", block, NOTEBOOKS["Lesson"]()) == []


def test_words_of_a_page_lose_links_that_lead_to_other_pages() -> None:
    text = "See [limits](limits.md#a) and [torch](https://pytorch.org)."

    assert NOTEBOOKS["_unlinked"](text) == "See limits and [torch](https://pytorch.org)."


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_a_notebook_runs_from_its_first_cell_to_its_last(name: str) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")

    notebook = NOTEBOOKS["executed"](NOTEBOOKS["built"](name))

    errors = [line for line in printed(notebook) if line.startswith(("error:", "internal error:"))]
    assert len(errors) == REFUSED.get(name, 0), errors
