"""Write what the docs take from the code: keys, public names, checks, words and rooms; `--check` only compares."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from transferkit.recipe import BACKBONE_MODELS, DATA_MODELS, METHOD_MODELS, BackboneSettings, Recipe, Study
from transferkit.recipe.ranking import RankingRecipe
from transferkit.recipe.tuning import TuningRecipe
from transferkit.report.glossary import GLOSSARY
from transferkit.runs.checks import CHECKS
from transferkit.runs.checks.finding import Check
from transferkit.runs.checks.subject import CheckedRun

ROOT = Path(__file__).parent.parent
PACKAGE, DOCS = ROOT / "transferkit", ROOT / "docs"
NAMESPACES = (
    "transferkit",
    "transferkit.metrics",
    "transferkit.ood",
    "transferkit.data.corruptions",
    "transferkit.models",
)
HERE = "Written by `python tools/reference.py` from the code; a test holds that both agree."
SECTIONS = ("Args", "Returns", "Raises", "Attributes", "Yields", "Example")


# ---- recipe keys ----


def recipe_keys() -> str:
    """docs/recipe-keys.md."""
    groups: dict[str, Iterable[type[BaseModel]]] = {
        "The recipe": [Recipe],
        "`data`": DATA_MODELS.values(),
        "`backbone`": [BackboneSettings, *BACKBONE_MODELS.values()],
        "`method`": METHOD_MODELS.values(),
        "A study": [Study],
        "A ranking": [RankingRecipe],
        "A tuning": [TuningRecipe],
    }
    parts = [
        "# Every key of a recipe",
        f"{HERE}\n[Recipes](recipes.md) says how they go together. On the command line `limit_per_class` is "
        "`--limit-per-class`, and in\nPython `limit_per_class=`. Not set means: the default depends on backbone, "
        "weights or images, and a run's page shows it.",
    ]
    for title, models in groups.items():
        parts += [f"## {title}", *_tables(tuple(models))]
    return "\n\n".join(parts) + "\n"


def _tables(models: tuple[type[BaseModel], ...]) -> Iterator[str]:
    """One table for each class that declares keys, those of all models first."""
    declaring = dict.fromkeys(owner for model in models for owner in reversed(model.__mro__) if _own_keys(owner))
    for owner in sorted(declaring, key=lambda owner: -sum(issubclass(model, owner) for model in models)):
        heirs = [model for model in models if issubclass(model, owner)]
        names = [_menu_name(model) for model in heirs]
        if len(models) > 1:
            yield f"### {'All' if len(heirs) == len(models) else ', '.join(filter(None, names))}"
        yield _table(heirs[0], _own_keys(owner))


def _own_keys(owner: type) -> list[str]:
    if not issubclass(owner, BaseModel):
        return []
    return [name for name in inspect.get_annotations(owner) if name in owner.model_fields]


def _menu_name(model: type[BaseModel]) -> str:
    """`cifar10` of the model whose key `name` can be nothing else."""
    return str(model.model_json_schema()["properties"].get("name", {}).get("const", ""))


def _table(model: type[BaseModel], keys: Iterable[str]) -> str:
    schema = model.model_json_schema()["properties"]
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        if "const" not in schema[key]:
            field = model.model_fields[key]
            cells = key, _values(schema[key]), _default(field), field.description or ""
            rows.append(f"| `{cells[0]}` | {' | '.join(cell.replace('|', '/') for cell in cells[1:])} |")
    return "\n".join(rows)


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    return "not set" if value is None or value in ((), {}, "") else f"`{_as_yaml(value)}`"


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(list(value) if isinstance(value, tuple) else value)


def _values(schema: Mapping[str, Any]) -> str:
    """Type and bounds in words."""
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_values(one) for one in alternatives if one.get("type") != "null"))
    if "$ref" in schema or "allOf" in schema:
        return "group"
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return ", ".join(f"`{choice}`" for choice in choices)
    match schema.get("type"):
        case "array":
            items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
            return f"list of {_values(items)}"
        case "object":
            return "mapping"
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number" as kind:
            return f"{'whole number' if kind == 'integer' else 'number'} {_bounds(schema)}".strip()
        case _:
            return "path" if schema.get("format") == "path" else "text"


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return " ".join(f"{word} {schema[key]:,}" for key, word in words.items() if key in schema)


# ---- public names ----


def api() -> str:
    """docs/api.md."""
    parts = [
        "# Python reference",
        f"{HERE}\nThese names are public; everything else may change in any commit.",
    ]
    for namespace in NAMESPACES:
        module = import_module(namespace)
        parts.append(f"## {namespace}")
        if namespace != "transferkit":
            parts.append(_described(module))
        parts += [_entry(namespace, name, getattr(module, name)) for name in sorted(module.__all__)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _entry(namespace: str, name: str, value: Any) -> str:
    heading = f"### {namespace}.{name}"
    if inspect.isclass(value) or inspect.isfunction(value):
        methods = [
            f"**{member}**{_signature(function)}: {_first_sentence(function)}" for member, function in _methods(value)
        ]
        listed = "\n".join(f"- {method}" for method in methods)
        return "\n\n".join(
            filter(None, [heading, f"```text\n{name}{_plain_signature(value)}\n```", _described(value), listed])
        )
    return f"{heading}\n\n{_constant(value)}"


def _methods(value: Any) -> Iterator[tuple[str, Any]]:
    if inspect.isclass(value):
        own = [kind for kind in reversed(value.__mro__) if kind.__module__.startswith("transferkit.")]
        for member, attribute in {name: entry for kind in own for name, entry in vars(kind).items()}.items():
            function = attribute.__func__ if isinstance(attribute, classmethod) else attribute
            if inspect.isfunction(function) and not member.startswith("_") and inspect.getdoc(function):
                yield member, function


def _constant(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"A mapping from {', '.join(f'`{key}`' for key in value)}."
    return f"`{value!r}`"


def _plain_signature(value: Any) -> str:
    """The signature; a default that is neither a word, a number nor a short list of these is three dots.

    Of a part of a recipe, whose types stand in docs/recipe-keys.md, the keys alone.
    """
    if inspect.isclass(value) and issubclass(value, BaseModel):
        return f"({', '.join(value.model_fields)})"
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    plain = str, int, float, bool, tuple, type(None), inspect.Parameter.empty
    parameters = [
        given if isinstance(given.default, plain) or given.default is given.empty else given.replace(default=...)
        for given in signature.parameters.values()
    ]
    text = str(signature.replace(parameters=parameters)).replace("Ellipsis", "...")
    return text.replace("'", "").removesuffix(" -> None")


def _signature(function: Any) -> str:
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return f"({', '.join(names)})"


def _first_sentence(value: Any) -> str:
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _described(value: Any) -> str:
    """A Google-style docstring as Markdown: its sections in bold, their entries as lists."""
    lines, section = [], ""
    for line in ((value.__doc__ and inspect.getdoc(value)) or "").splitlines():
        heading = line.removesuffix(":")
        if line.endswith(":") and heading in SECTIONS:
            section = heading
            lines += [f"**{heading}**", ""] + (["```pycon"] if section == "Example" else [])
        elif section == "Example" and line and not line.startswith(" "):
            lines, section = [*lines, "```", line], ""
        elif section == "Example":
            lines.append(line.removeprefix("    "))
        elif section and (entry := re.match(r"    (\*{0,2}\w+): (.*)", line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        else:
            lines.append(f"  {line.strip()}" if section and line.startswith("        ") else line.strip())
    return "\n".join([*lines, "```"] if section == "Example" else lines).strip()


# ---- checks ----


def checks_page(page: str) -> str:
    """docs/checks.md with a section for each entry of the registry behind what is written by hand."""
    written, _, _ = page.partition("## Every check")
    sections = [f"{written}## Every check\n\n{HERE}"]
    tests = ROOT / "tests"
    sys.path += [str(tests), str(tests / "runs")]
    faults = runpy.run_path(str(tests / "runs" / "planted_faults.py"))["FAULTS"]
    sections += [_check_section(code, check, faults[code]) for code, check in CHECKS.items()]
    return "\n\n".join(sections) + "\n"


def _check_section(code: str, check: Check, example: CheckedRun) -> str:
    early = " It speaks before training, too." if check.is_early else ""
    finding = check.finding(code, example)
    if finding is None:
        sys.exit(f"{code} does not catch its planted fault in tests/runs/planted_faults.py.")
    parts = [
        f'<a id="{code.lower()}"></a>',
        f"### {code} {check.title}",
        f"{check.severity.capitalize()}.{early} {check.about}",
        "As it is said:",
        f"> {finding.sentence}",
        f"```bash\n{finding.command}\n```" if finding.command else "",
    ]
    return "\n\n".join(filter(None, parts))


# ---- words ----


def glossary() -> str:
    """docs/glossary.md."""
    entries = "\n".join(f"- **{term}**: {meaning}" for term, meaning in sorted(GLOSSARY.items(), key=_alphabetical))
    hint = "On the page of a run, words with a dotted line explain themselves when you point at them or tab to them."
    return f"# Words\n\nThe field's terms, each in a sentence. {hint}\n\n{entries}\n\n{HERE}\n"


def _alphabetical(entry: tuple[str, str]) -> str:
    return entry[0].casefold()


# ---- rooms ----


def architecture(page: str) -> str:
    """docs/architecture.md with the list of rooms as they are."""
    floors = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))["FLOORS"]
    rows = [
        f"| {len(floors) - depth} | `{_file_name(name)}` | {_purpose(name)} |"
        for depth, names in enumerate(floors)
        for name in sorted(names)
        if not name.startswith("__")
    ]
    table = "\n".join(["| floor | room | what it is for |", "|---|---|---|", *rows])
    return re.sub(r"\| floor \| room \|.*?\n\n", lambda _: f"{table}\n\n", page, count=1, flags=re.DOTALL)


def _file_name(room: str) -> str:
    return f"{room}/" if (PACKAGE / room).is_dir() else f"{room}.py"


def _purpose(room: str) -> str:
    path = PACKAGE / room / "__init__.py" if (PACKAGE / room).is_dir() else PACKAGE / f"{room}.py"
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return words.partition("\n\n")[0].replace("\n", " ").removesuffix(".")


def pages() -> dict[Path, str]:
    """What every generated page should hold."""
    rooms, checks = DOCS / "architecture.md", DOCS / "checks.md"
    return {
        DOCS / "recipe-keys.md": recipe_keys(),
        DOCS / "api.md": api(),
        DOCS / "glossary.md": glossary(),
        rooms: architecture(rooms.read_text(encoding="utf-8")),
        checks: checks_page(checks.read_text(encoding="utf-8")),
    }


def stale() -> list[str]:
    """The pages that are not what the code says."""
    return [
        path.name for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    if "--check" in sys.argv:
        if old := stale():
            sys.exit(f"{', '.join(old)}: not what the code says. Run python tools/reference.py and commit the result.")
        return
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
