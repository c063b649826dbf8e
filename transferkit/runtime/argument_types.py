"""Arguments of the Python calls, compared with the types in their signatures: a wrong one is told by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, signature
from typing import Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted

P = ParamSpec("P")
Result = TypeVar("Result")
IN_WORDS = {
    "Sequence[str]": "a list of names, as in ['resnet18', 'resnet34=none']",
    "str | nn.Module": "a name such as 'resnet18', or a network of your own (an nn.Module, as in Net())",
}
COMMANDS = re.compile(r"(`[^`]*`|pip install [^\n]*|(?:transferkit|torchrun) [a-z-]+ [^\n]*)")
OPTION = re.compile(
    r"(?<![\w-])--(?P<name>[a-z][a-z-]*[a-z])(?: (?P<value>[A-Z]{2,}\b|\d[\w.]*\b|[a-z][a-z0-9]*(?=[,.;:)]|$)))?"
)
SWITCHES = ("overwrite", "resume", "skip_bad")  # are on or off
CONFIG = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def typed(function: Callable[P, Result], name: str = "") -> Callable[P, Result]:
    """The function with its named arguments checked first; `name` is what it is called in messages."""

    @wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> Result:
        shape = signature(function)
        given = shape.bind(*arguments, **options).arguments
        named = {key: value for key, value in given.items() if shape.parameters[key].kind not in VARIADIC}
        require_types(f"transferkit.{name or function.__name__}", named, function)
        with in_python_words():
            return function(*arguments, **options)

    return call


@contextmanager
def in_python_words() -> Iterator[None]:
    """Inside, also as a decorator, errors name arguments of Python where they would name options of a command."""
    try:
        yield
    except TransferkitError as error:
        error.args = (in_python(str(error)),)
        raise


def in_python(message: str) -> str:
    """A message with the options of the command line as arguments; commands in it stay as they are typed.

    Example:
        >>> in_python("Use --weights none, --size 64 or --weights FILE, or replace it with --overwrite.")
        "Use weights='none', size=64 or weights=FILE, or replace it with overwrite=True."
        >>> in_python("Choose another folder with --out, or type `transferkit limits RUN --overwrite`.")
        'Choose another folder with out=..., or type `transferkit limits RUN --overwrite`.'
    """
    parts = COMMANDS.split(message)
    return "".join(part if number % 2 else OPTION.sub(_as_argument, part) for number, part in enumerate(parts))


def _as_argument(option: re.Match[str]) -> str:
    name, value = option["name"].replace("-", "_"), option["value"]
    if name in SWITCHES:
        return f"{name}=True" + (f" {value}" if value else "")
    if value is None:
        return f"{name}=..."
    return f"{name}={value!r}" if value.islower() else f"{name}={value}"


def require_types(source: str, values: Mapping[str, Any], like: Any) -> None:
    """Refuse values of other types than those of the same name in a function's or a class's annotations.

    Raises:
        TransferkitError: Names the first one.
    """
    hints = get_type_hints(like)
    for name, value in values.items():
        try:
            TypeAdapter(hints[name], config=CONFIG).validate_python(value)
        except ValidationError:
            expected = _expected(value, hints[name], like.__annotations__[name])
            raise TransferkitError(f"{source}: {name} is {_came(value)}. {expected}") from None


def _came(value: Any) -> str:
    """What came; of an array its shape, not its numbers."""
    shape = getattr(value, "shape", None)
    return quoted(value) if shape is None else f"a {type(value).__name__} of shape {tuple(shape)}"


def _expected(value: Any, hint: Any, annotation: str) -> str:
    """What to type instead: the nearest of several words, else what the annotation means."""
    if get_origin(hint) is Literal and isinstance(value, str):
        return did_you_mean(value, get_args(hint))
    return f"Expected {IN_WORDS.get(annotation, annotation)}."
