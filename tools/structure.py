"""Counts how the package is built: rooms, imports between them, long functions, untyped dicts, names used twice.

    python tools/structure.py            the counts, a line each
    python tools/structure.py arrows     which room imports which, and by how many imports
    python tools/structure.py twice      classes and public functions of one name in several files
    python tools/structure.py vague      variables, parameters, fields and functions whose name says nothing
    python tools/structure.py keys       accesses by string key and dict[str, Any] of each file, most first

A room is a name at the top level of the package. An arrow stands for all imports of one room by another. Floors are the
longest chain of arrows.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "transferkit"
Function = ast.FunctionDef | ast.AsyncFunctionDef
VAGUE = {"found", "told", "said", "seen", "kept", "each", "one"}  # what is held has a noun


def trees() -> dict[Path, ast.Module]:
    """The syntax tree of every file of the package."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a dotted name below the package, or of a path's parts."""
    return parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """Rooms that a file imports, one for each import."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("transferkit"):
            continue
        base = tuple(str(node.module).split(".")[1:])
        for alias in node.names:
            yield room_of((*base, alias.name))


def arrows(files: Mapping[Path, ast.Module]) -> Counter[tuple[str, str]]:
    """How many imports lead from one room to another; the package's own `__init__` is nobody's room."""
    counts: Counter[tuple[str, str]] = Counter()
    for path, tree in files.items():
        here = room_of(path.relative_to(PACKAGE).parts)
        counts.update((here, there) for there in imported(tree) if there not in (here, "__version__"))
    return counts


def floors(pairs: Counter[tuple[str, str]]) -> int:
    """The longest chain of rooms that import each other."""
    below: dict[str, set[str]] = defaultdict(set)
    for here, there in pairs:
        below[here].add(there)
    height: dict[str, int] = {}
    try:
        order = list(TopologicalSorter(below).static_order())
    except CycleError as error:
        raise SystemExit(f"Rooms import each other in a circle: {' <- '.join(error.args[1])}") from error
    for room in order:
        height[room] = 1 + max((height[other] for other in below[room]), default=0)
    return max(height.values())


def functions(files: Mapping[Path, ast.Module]) -> list[tuple[str, Function]]:
    """Every function with the file it stands in."""
    return [
        (str(path.relative_to(PACKAGE)), node)
        for path, tree in files.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    ]


def body_lines(function: Function) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return int(function.end_lineno or 0) - body[0].lineno + 1


def parameters(function: Function) -> int:
    """How many arguments a function takes, without self and cls."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def string_keys(tree: ast.Module) -> int:
    """Accesses such as `row["accuracy"]`; `Literal["auto"]` is a type."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load))
    keys = (node.slice for node in nodes if ast.unparse(node.value) != "Literal")
    return sum(isinstance(key, ast.Constant) and isinstance(key.value, str) for key in keys)


def untyped_dicts(tree: ast.Module) -> int:
    """Annotations `dict[str, Any]`."""
    return ast.unparse(tree).count("dict[str, Any]")


def renamed_dicts(tree: ast.Module) -> int:
    """The same by another name."""
    text = ast.unparse(tree)
    return sum(text.count(name) for name in ("dict[str, object]", "Mapping[str, Any]", "Mapping[str, object]"))


def by_file(files: Mapping[Path, ast.Module]) -> list[tuple[int, int, str]]:
    """Of each file that has some: accesses by string key, untyped dicts, and its name; most first."""
    rows = [(string_keys(tree), untyped_dicts(tree), str(path.relative_to(PACKAGE))) for path, tree in files.items()]
    return sorted((row for row in rows if row[0] or row[1]), key=lambda row: (-row[0] - row[1], row[2]))


def twice(files: Mapping[Path, ast.Module], kind: type[ast.ClassDef] | type[ast.FunctionDef]) -> dict[str, list[str]]:
    """Public names at the top level of several files, with these files."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in files.items():
        for node in tree.body:
            if isinstance(node, kind) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    return {name: files_of_name for name, files_of_name in sorted(places.items()) if len(files_of_name) > 1}


def vague_names(files: Mapping[Path, ast.Module]) -> list[tuple[str, int, str]]:
    """File, line and name of each variable, parameter, field and function that is named by a word of `VAGUE`."""
    return [
        (str(path.relative_to(PACKAGE)), line, name)
        for path, tree in files.items()
        for node in ast.walk(tree)
        for line, name in _named(node)
        if name in VAGUE
    ]


def _named(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The name that a node gives, with its line."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
            yield node.lineno, name


def counts() -> dict[str, str]:
    """What is counted, in words."""
    files = trees()
    pairs, every = arrows(files), functions(files)
    sizes = sorted(body_lines(function) for _, function in every)
    long = sum(size > 50 for size in sizes)
    widest = sorted(((parameters(function), name, function.name) for name, function in every), reverse=True)[:3]
    top = {path.relative_to(PACKAGE).parts[0] for path in files}
    return {
        "files, lines": f"{len(files)}, {sum(len(path.read_text().splitlines()) for path in files):,}",
        "names at the top level": str(len(top)),
        "rooms": str(len({room for pair in pairs for room in pair})),
        "arrows between rooms": str(len(pairs)),
        "floors": str(floors(pairs)),
        "accesses by string key": f"{sum(map(string_keys, files.values())):,}",
        "dict[str, Any]": str(sum(map(untyped_dicts, files.values()))),
        "Mapping[str, Any], dict[str, object]": str(sum(map(renamed_dicts, files.values()))),
        "functions": f"{len(sizes):,}, median body {statistics.median(sizes):g} lines, above 50: {long}",
        "longest parameter lists": ", ".join(f"{name} {function} ({n})" for n, name, function in widest),
        "class names used twice": ", ".join(twice(files, ast.ClassDef)) or "none",
        "isinstance of settings": str(settings_asked(files)),
        "names that say nothing": str(len(vague_names(files))),
    }


def settings_asked(files: Mapping[Path, ast.Module]) -> int:
    """Tests such as `isinstance(settings, FinetuneSettings)`."""
    calls = (node for tree in files.values() for node in ast.walk(tree) if isinstance(node, ast.Call))
    asked = (ast.unparse(call) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "isinstance")
    return sum("Settings" in text or "Data)" in text for text in asked)


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "counts"
    if what == "arrows":
        for (here, there), number in sorted(arrows(trees()).items()):
            print(f"{here} -> {there}: {number}")
    elif what == "keys":
        for keys, dicts, name in by_file(trees()):
            print(f"{name}: {keys} keys, {dicts} dicts")
    elif what == "vague":
        for name, line, word in vague_names(trees()):
            print(f"{name}:{line}: {word}")
    elif what == "twice":
        for kind in (ast.ClassDef, ast.FunctionDef):
            for name, places in twice(trees(), kind).items():
                print(f"{name}: {', '.join(places)}")
    else:
        for name, count in counts().items():
            print(f"{name}: {count}")


if __name__ == "__main__":
    main()
