"""What a value should have been, in our words: the one place where pydantic's are put into English for users."""

from __future__ import annotations

from functools import reduce
from typing import Any

from pydantic_core import ErrorDetails, ValidationError

from transferkit.runtime.errors import quoted

NUMBER, WHOLE, LIST, KEYS = "a number", "a whole number", "a list", "a group of keys"
PREFIXES = ("Value error, ", "Assertion failed, ", "Input should be ", "Input should ")  # that pydantic begins with
EXPECTED = {  # by the kind of error, with the names of what pydantic tells of it
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), NUMBER),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), "text"),
    "path_type": "a path",
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "iterable_type"), LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), KEYS),
    "none_required": "nothing",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text of the pattern {pattern}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}

SINGULAR = {" 1 entries": " 1 entry", " 1 characters": " 1 character"}


def expected_value(detail: ErrorDetails) -> str:
    """What was expected where pydantic found something else; of errors of our own, their words.

    Example:
        >>> expected_value({"type": "int_parsing", "loc": (), "msg": "Input should be ...", "input": "x"})
        'a whole number'
    """
    template = EXPECTED.get(detail["type"])
    if template is None:
        return _without_prefix(detail["msg"])
    text = template.format(**{name: in_digits(value) for name, value in detail.get("ctx", {}).items()})
    return reduce(lambda words, many: words.replace(many, SINGULAR[many]), SINGULAR, text)


def is_our_own(detail: ErrorDetails) -> bool:
    """Whether the words of an error are a sentence of ours, which says what came by itself."""
    return detail["type"] in ("value_error", "assertion_error")


def sentence(error: ValidationError) -> str:
    """What was expected of one value, and what came; ways to write it are joined by "or"."""
    details = error.errors(include_url=False)
    if is_our_own(details[0]):
        return expected_value(details[0])
    ways = " or ".join(dict.fromkeys(map(expected_value, details)))
    return f"expected {ways}; found {quoted(details[0]['input'])}."


def in_digits(value: Any) -> str:
    """A bound as one writes it; all that is no number as it is.

    Example:
        >>> in_digits(1.0), in_digits(0.5), in_digits(4294967296), in_digits("'a' or 'b'")
        ('1', '0.5', '4294967296', "'a' or 'b'")
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _without_prefix(message: str) -> str:
    for prefix in PREFIXES:
        message = message.removeprefix(prefix)
    return message
