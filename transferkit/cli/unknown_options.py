"""What is said of an option or a value that does not exist: the nearest ones, or where all of them stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

NEAR = 0.6  # share of letters alike in the names, by difflib's ratio; dashes would make all short names alike
MOST = 2  # names suggested


def no_such_option(option: str, options: Sequence[str], whole_help: str) -> str:
    """The message.

    Args:
        option: As typed, without its value.
        options: Those there are.
        whole_help: What is typed to see them.

    Example:
        >>> no_such_option("--epoch", ["--epochs", "--keep"], "transferkit finetune --help-all")
        'No such option: --epoch. Did you mean --epochs?'
        >>> no_such_option("--quiet", ["--fit", "--out"], "transferkit finetune --help-all")
        'No such option: --quiet. All options: transferkit finetune --help-all'
    """
    names = {name.strip("-").lower(): name for name in options}
    near = [names[name] for name in get_close_matches(option.strip("-").lower(), names, n=MOST, cutoff=NEAR)]
    advice = f"Did you mean {' or '.join(near)}?" if near else f"All options: {whole_help}"
    return f"No such option: {option}. {advice}"


def with_nearest(message: str) -> str:
    """What is said of a value that is none of a few, with the nearest of them.

    Example:
        >>> with_nearest("'ful' is not one of 'none', 'fast', 'full'.")
        "'ful' is not one of 'none', 'fast', 'full'. Did you mean 'full'?"
        >>> with_nearest("'lora' is not one of 'all', 'bias'.")
        "'lora' is not one of 'all', 'bias'."
    """
    if " is not one of " not in message:
        return message
    typed, *choices = re.findall(r"'([^']*)'", message)
    near = get_close_matches(typed, choices, n=1, cutoff=NEAR)
    return f"{message} Did you mean '{near[0]}'?" if near else message
