"""YAML as a recipe means it: the scalars of JSON and words, no aliases, no surprises, bounded in every direction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from transferkit.runtime.errors import TransferkitError, quoted
from transferkit.runtime.json_files import JsonObject

if TYPE_CHECKING:  # yaml is imported when the first text comes, so that --help does without it
    import yaml

TAG = "tag:yaml.org,2002:"
SCALARS: dict[str, tuple[str, str]] = {  # YAML 1.2.2, section 10.3.2, without octal: the pattern, and how it may begin
    "null": (r"^(?:~|null|Null|NULL|)$", "~nN"),
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"^[-+]?[0-9]+$|^0x[0-9a-fA-F]+$", "-+0123456789"),
    "float": (
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+0123456789.",
    ),
}
LONGEST_TEXT = 100_000  # characters, read in 1 s; a study of a hundred arms has a tenth
DEEPEST = 20  # mappings and lists within each other; a study has 5
LONGEST_NUMBER = 40  # characters; no setting needs more


class _Refused(Exception):
    """What is YAML, but has no place in a recipe; and where it stands."""

    def __init__(self, what: str, mark: yaml.Mark) -> None:
        super().__init__(what)
        self.mark = mark


@cache
def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What a plain scalar means, by its first character: everything but SCALARS is a word, dates and 190:20:30 too."""
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {"": [(f"{TAG}null", re.compile("^$"))]}
    for name, (pattern, begins) in SCALARS.items():
        for first in begins:
            resolvers.setdefault(first, []).append((TAG + name, re.compile(pattern)))
    return resolvers


@cache
def _loader() -> type[yaml.SafeLoader]:
    """Values of the kinds above; mappings and lists; no tag of another kind, no alias, no key twice, no great depth."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = _resolvers()
        yaml_constructors = {  # noqa: RUF012 - yaml keeps them so
            tag: constructor
            for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
            if tag is None or tag.removeprefix(TAG) in (*SCALARS, "str", "seq", "map")
        }
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _Refused("an anchor or alias (& or *); write what it stands for", event.start_mark)
            self.depth += 1
            if self.depth > DEEPEST:
                raise _Refused(f"more than {DEEPEST} mappings and lists within each other", event.start_mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            if not isinstance(node, yaml.MappingNode):
                raise _Refused("no mapping where one was expected", node.start_mark)
            mapping: dict[Any, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise _Refused("a key that is no word", key.start_mark)
                if key.value in mapping:
                    raise _Refused(f"the key {quoted(key.value)} twice", key.start_mark)
                mapping[key.value] = self.construct_object(value, deep)
            return mapping

    for name in ("null", "bool", "int", "float"):
        Loader.add_constructor(TAG + name, _scalar)
    return Loader


def _scalar(_: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """A number, true, false or null; also where a tag says so, as in `!!int 5`."""
    text, kind = str(node.value), str(node.tag).removeprefix(TAG)
    if not isinstance(node.value, str) or not re.match(SCALARS[kind][0], text) or len(text) > LONGEST_NUMBER:
        raise _Refused(f"{quoted(text)} where {kind} was expected", node.start_mark)
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 16 if text.startswith("0x") else 10)
        case _:
            return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


@cache
def _dumper() -> type[yaml.SafeDumper]:
    """Quotes what the loader above would read as something else, and repeats what is there twice."""
    import yaml

    class Dumper(yaml.SafeDumper):
        yaml_implicit_resolvers = _resolvers()

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's signature
            return True

    return Dumper


def parse_yaml(text: str, source: str) -> Any:
    """The values in a YAML text: words, numbers, true, false, null, lists, and mappings whose keys are words.

    Raises:
        TransferkitError: With file, line and column; aliases, tags of other kinds, a key that is there twice, and texts
            that are very long or nested very deeply are refused.
    """
    import yaml

    if len(text) > LONGEST_TEXT:
        raise TransferkitError(f"{source} is no recipe: more than {LONGEST_TEXT:,} characters.")
    try:
        return yaml.load(text, Loader=_loader())
    except _Refused as error:
        raise TransferkitError(f"{source}{_place(error.mark)} holds {error}.") from error
    except yaml.YAMLError as error:
        place = _place(getattr(error, "problem_mark", None))
        problem = " ".join(str(getattr(error, "problem", error)).split())[:200]
        raise TransferkitError(f"{source}{place} is not YAML: {problem}.") from error


def parse_keys(text: str, source: str) -> JsonObject:
    """The keys of a recipe in a YAML text, as `parse_yaml` reads it.

    Raises:
        TransferkitError: As `parse_yaml`, and for a text that holds no keys.
    """
    values = parse_yaml(text, source)
    if not isinstance(values, dict):
        raise TransferkitError(
            f"{source} holds no recipe. Expected keys data, backbone and method; see `transferkit recipes list`."
        )
    return values


def _place(mark: yaml.Mark | None) -> str:
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML that `parse_yaml` reads back as the same values, the name of every group first."""
    import yaml

    return yaml.dump(_name_first(values), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100)


def _name_first(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    keys = sorted(value, key=lambda key: key != "name")
    return {key: _name_first(value[key]) for key in keys}
