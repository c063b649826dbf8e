"""Imports point downwards only; the plan of the house is in the list below."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "transferkit"
FLOORS = [  # from the top; a room may import rooms of lower floors only, or of its own floor without a circle
    {"__init__", "__main__", "cli"},
    {"api"},
    {"studies"},
    {"run", "deploy", "estimates"},
    {"report", "training"},
    {"features", "ood", "runs"},
    {"models", "metrics"},
    {"data"},
    {"recipe"},
    {"runtime"},
]
SLICES = {"compare", "rank", "limits", "labels", "lab"}  # of studies: each answers one question, alone


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "transferkit":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transferkit."):
            rooms.add(str(node.module).split(".")[1])
    return rooms - {room(path), "__version__"}


def test_every_import_points_downwards() -> None:
    floor = {name: depth for depth, names in enumerate(FLOORS) for name in names}
    files = sorted(PACKAGE.rglob("*.py"))

    upward = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in files
        for other in imported_rooms(path)
        if floor[other] < floor[room(path)]
    ]

    assert len(files) > 30
    assert upward == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    imports: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        imports.setdefault(room(path), set()).update(imported_rooms(path))

    order = list(TopologicalSorter(imports).static_order())  # a CycleError names the circle

    assert order.index("runtime") < order.index("cli")


def test_studies_do_not_import_each_other() -> None:
    files = sorted((PACKAGE / "studies").glob("*/*.py"))
    across = [
        f"{path.relative_to(PACKAGE)} imports {node.module}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transferkit.studies.")
        if str(node.module).split(".")[2] != path.parent.name
    ]

    assert {path.parent.name for path in files} == SLICES
    assert across == []


def test_no_room_has_a_name_that_means_nothing() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}

    assert not names & {"utils", "common", "helpers", "base", "core", "misc"}


def test_the_page_on_architecture_names_every_room_on_its_floor() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = {name: int(floor) for floor, name in re.findall(r"^\| (\d+) \| `(\w+)[^`]*` \|", page, flags=re.MULTILINE)}

    expected = {name: len(FLOORS) - depth for depth, names in enumerate(FLOORS) for name in names}
    assert rows == {name: floor for name, floor in expected.items() if not name.startswith("__")}


def test_what_settings_are_is_declared_and_not_asked_by_their_class() -> None:
    ladders = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass")
        if re.search(r"Settings\b|[a-z]Data\b", ast.unparse(node.args[1]))
    ]

    assert ladders == ["recipe/backbone.py: isinstance(value, BackboneSettings)"]  # which of pydantic's models it is
