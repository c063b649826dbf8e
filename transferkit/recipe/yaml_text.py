"""YAML as a recipe means it: 1e-3 is a number, no is a word, names come first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from transferkit.errors import TransferkitError

if TYPE_CHECKING:  # yaml is imported when the first text comes, so that --help does without it
    import yaml

BOOL, FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"


@cache
def _loader() -> type[yaml.SafeLoader]:
    """YAML 1.2's scalars: 1e-3 is a number; yes, no, on and off are words."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - yaml keeps them so
            first: [(tag, pattern) for tag, pattern in resolvers if tag not in (BOOL, FLOAT)]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver(BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    Loader.add_implicit_resolver(
        FLOAT,
        re.compile(
            r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
        ),
        list("-+0123456789."),
    )
    return Loader


@cache
def _dumper() -> type[yaml.SafeDumper]:
    """Quotes what the loader above would read as something else."""
    import yaml

    class Dumper(yaml.SafeDumper):
        yaml_implicit_resolvers = _loader().yaml_implicit_resolvers

    return Dumper


def parse_yaml(text: str, source: str) -> Any:
    """The values in a YAML text.

    Raises:
        TransferkitError: With file, line and column.
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise TransferkitError(f"{source}{where} is not YAML: {getattr(error, 'problem', error)}.") from error


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML that `parse_yaml` reads back as the same values, the name of every group first."""
    import yaml

    return yaml.dump(_name_first(values), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100)


def _name_first(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    keys = sorted(value, key=lambda key: key != "name")
    return {key: _name_first(value[key]) for key in keys}
