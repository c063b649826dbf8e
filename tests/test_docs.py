"""Every Python block of README and docs runs, and every command in them exists."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.training.estimates import timing

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "tools" / "reference.py"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
NAMESPACES = runpy.run_path(str(REFERENCE))["NAMESPACES"]
NEEDS_YOUR_IMAGES = "my-images", "transform(images)"  # a reader's own files, which are not here


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what a page makes there goes with the test
    names: dict[str, object] = {}

    for block in blocks(page, "python"):
        exec(block, names)  # the project's own pages


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The file that the section on studies tells a reader to save."""
    (text,) = [block for block in blocks(ROOT / "docs" / "recipes.md", "yaml") if "arms:" in block]
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_study_in_recipes_is_a_whole_one_of_ten_lines(study: Path) -> None:
    result = CliRunner().invoke(app, ["recipes", "validate", str(study)])

    assert result.exit_code == 0, result.output
    assert "seeds: 2" in study.read_text(encoding="utf-8")
    assert len(study.read_text(encoding="utf-8").splitlines()) == 10


@pytest.mark.slow
def test_the_study_in_recipes_runs_as_it_stands(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.parent)

    result = CliRunner().invoke(app, ["run", study.name])

    assert result.exit_code == 0, (result.output, result.exception)


def test_pages_hold_python_blocks() -> None:
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 4


def test_python_blocks_of_the_readme_run_or_need_your_images() -> None:
    for block in blocks(ROOT / "README.md", "python"):
        compile(block, "README.md", "exec")
        assert any(name in block for name in NEEDS_YOUR_IMAGES)


def transferkit_names(block: str) -> Iterator[str]:
    """What a block of Python takes from the package: `transferkit.metrics.auroc`, whichever way it is written."""
    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "transferkit":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("transferkit."))
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"transferkit(\.\w+)+", ast.unparse(node)):
            yield ast.unparse(node)


def is_public(name: str) -> bool:
    """Whether it is a public namespace, or stands in the `__all__` of one."""
    namespace, _, last = name.rpartition(".")
    return name in NAMESPACES or (namespace in NAMESPACES and last in import_module(namespace).__all__)


def test_python_blocks_take_public_names_only() -> None:
    taken = [
        (page.name, name) for page in DOCUMENTS for block in blocks(page, "python") for name in transferkit_names(block)
    ]

    assert len(taken) >= 12
    assert [(page, name) for page, name in taken if not is_public(name)] == []


def test_a_name_from_deeper_inside_is_not_public() -> None:
    block = "import transferkit.run\nfrom transferkit.recipe.budget import read\ntransferkit.metrics.auroc(scores)"

    names = list(transferkit_names(block))

    assert [name for name in names if not is_public(name)] == ["transferkit.run", "transferkit.recipe.budget.read"]
    assert "transferkit.metrics.auroc" in names


def console_commands() -> list[str]:
    """What a reader of the pages types after `transferkit`."""
    return [
        line.removeprefix("$ transferkit ")
        for page in PAGES
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ transferkit ")
    ]


@pytest.mark.slow
def test_console_commands_of_the_pages_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but how long each would take, for which networks are timed."""
    monkeypatch.chdir(tmp_path)  # for the files that they write
    for name in ("forward_seconds", "step_seconds"):
        monkeypatch.setattr(timing, name, lambda *_: 0.001)
    commands = console_commands()

    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 0, (command, result.output, result.exception)
    assert len(commands) >= 3


@pytest.mark.slow
def test_console_commands_of_the_pages_time_their_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [command for command in console_commands() if "--dry-run" in command]

    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 0, (command, result.output, result.exception)
        assert "Estimate: " in result.output, (command, result.output)
    assert len(commands) >= 10


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    registered = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}

    assert {name for name in registered if not re.search(rf"`(transferkit )?{name}\b", text)} - {"merge"} == set()


def anchors(page: Path) -> set[str]:
    """What `page.md#...` may name: its headings, as GitHub and the site write them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_to_files_and_headings() -> None:
    links = [
        (page, target)
        for page in DOCUMENTS
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    ]

    assert len(links) >= 40
    for page, target in links:
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), (page.name, target)
        assert not anchor or anchor in anchors(there), (page.name, target)


def test_the_site_and_the_index_list_every_page() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = sorted(re.findall(r"[\w-]+\.md", str(nav)))
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"))

    assert listed == [page.name for page in PAGES]
    assert {*linked, "index.md"} == set(listed)


def test_commands_to_copy_fit_a_terminal_of_80_columns() -> None:
    lines = [line for block in blocks(ROOT / "README.md", "console") for line in block.splitlines()]

    assert len(lines) >= 6
    assert [line for line in lines if len(line) > 80] == []


def test_generated_pages_are_what_the_code_says() -> None:
    assert runpy.run_path(str(REFERENCE))["stale"]() == []


def test_every_key_of_a_recipe_says_what_it_is_for() -> None:
    rows = [
        line for line in (ROOT / "docs" / "recipe-keys.md").read_text(encoding="utf-8").splitlines() if "| `" in line
    ]

    assert len(rows) >= 58
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []
