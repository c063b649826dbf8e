"""Imports point downwards only; the plan of the house is in the list below."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "transferkit"
FLOORS = [  # from the top; a room may import rooms of lower floors only, or of its own floor without a circle
    {"__init__", "__main__", "cli"},
    {"api"},
    {"studies"},
    {"run", "deploy"},
    {"report", "training"},
    {"features", "ood", "runs"},
    {"models", "metrics"},
    {"data"},
    {"recipe", "executors"},
    {"runtime"},
]
# of studies: each answers one question, alone
SLICES = {"compare", "folds", "rank", "limits", "labels", "lab", "next_images", "soup", "tune", "lr_find", "verify"}

INNER_FLOORS = {  # of the large rooms, from the top; a module may import modules of lower floors of its room only
    "data": [
        "augmented_examples corruptions datasets split_comparison",
        "batches decoding duplicates mirroring thumbnails",
        "band_files",
        "image_files",
        "augmentation fast_jpeg orientation reading resizing splitting ycbcr_tiff",
        "images",
        "split_facts",
        "band_axis file_facts groups levels streamed_pixels",
    ],
    "features": [
        "extraction caches",
        "extractor cached_outputs stored_answers data_arguments",
        "fast_classifier stored explanations",
        "engine networks int8",
        "layer_network store",
        "graphs inventory located",
        "hooks segments",
        "finite layers folding pictures keys",
    ],
    "models": [
        "creation input_sizes adapters",
        "backbones",
        "description pooled_stages receptive_fields weights",
        "classifier heads",
        "linear logit_checks measured_fields preparation stored_model test_time_augmentation undrawn",
        "bands",
    ],
    "runs": [
        "checks",
        "limits_findings listing own_images run_data same_work stored_classifier",
        "run_directory",
        "other_folders",
        "label_check result_folders small_pictures",
        "facts",
    ],
    "studies/limits": [
        "comparison",
        "story",
        "rendering",
        "comparison_page markdown",
        "page",
        "figures summary sweep_curves",
        "comparison_results report",
        "error_slices",
        "gallery",
        "deployment nuisance",
        "corruption_severity distribution_shift nonsense open_world",
        "out_of_distribution",
        "contamination",
        "abstaining detectors in_distribution leave_out published",
        "candidate_sets subject",
        "calls image_sets low_level probit settings shares strips",
    ],
    "training": [
        "augmented_sheet",
        "estimates",
        "costs defaults",
        "methods",
        "__init__",
        "loop",
        "epoch",
        "optimizers step_loss",
        "replicas",
        "groups mixing",
        "early_stopping failure judging",
        "memory_layout resolved",
        "averages balance checkpoint growth initial_checks pace rates same_images several_devices step_defaults",
    ],
}


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


def written_imports(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """Those of a module; how a result shows itself in a notebook is the one thing that may look up to a page."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and child.name == "_notebook_page":
            continue
        if isinstance(child, ast.ImportFrom):
            yield child
        yield from written_imports(child)


def imported_modules(path: Path, folder: Path, modules: set[str]) -> set[str]:
    """The modules and folders of a room that one of its files imports."""
    package = ".".join(("transferkit", *folder.relative_to(PACKAGE).parts))
    imported = set()
    for node in written_imports(ast.parse(path.read_text(encoding="utf-8"))):
        if node.module == package:
            imported |= {alias.name if alias.name in modules else "__init__" for alias in node.names}
        elif (node.module or "").startswith(f"{package}."):
            imported.add(str(node.module).removeprefix(f"{package}.").split(".")[0])
    return imported


def module_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", INNER_FLOORS)
def test_inside_a_large_room_every_import_points_downwards(name: str) -> None:
    folder = PACKAGE / name
    floor = {module: depth for depth, modules in enumerate(INNER_FLOORS[name]) for module in modules.split()}
    files = {path: module_of(path, folder) for path in folder.rglob("*.py")}
    listed = {path: module for path, module in files.items() if module in floor}

    upward = [
        f"{path.relative_to(folder)} imports {other}"
        for path, module in listed.items()
        for other in imported_modules(path, folder, set(files.values())) - {module}
        if floor.get(other, -1) <= floor[module]
    ]

    assert set(floor) | {"__init__"} == set(files.values())
    assert upward == []


def test_no_room_has_a_name_that_means_nothing() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}

    assert not names & {"utils", "common", "helpers", "base", "core", "misc"}


def test_what_is_held_has_a_noun_for_a_name() -> None:
    structure = PACKAGE.parent / "tools" / "structure.py"

    vague = subprocess.run([sys.executable, structure, "vague"], capture_output=True, text=True, check=True)

    assert (
        vague.stdout == ""
    )  # no variable, parameter, field or function called found, told, said, seen, kept, each, one


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
