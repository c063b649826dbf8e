"""Labels of an array as classes: whole numbers or text, and the names that numbers stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from transferkit.data.datasets.layout import class_name, in_natural_order
from transferkit.data.datasets.path_table import LONGEST
from transferkit.data.images import Labels
from transferkit.runtime.errors import TransferkitError, is_plain, quoted
from transferkit.runtime.plurals import counted

MOST = 2.0**53  # beyond which doubles leave out whole numbers


def numbered(where: str, labels: Any, known: list[str] | None) -> tuple[Labels, tuple[str, ...]]:
    """Labels (N,) in 0..C-1 along names in natural order; `known` names the classes 0..C-1 of whole numbers.

    Raises:
        TransferkitError: If they are no classes, or have no name.
    """
    kinds, rows = np.unique(_whole(where, labels), return_inverse=True)
    if known is not None and kinds.dtype.kind in "iu":
        if len(kinds) and not 0 <= kinds[0] <= kinds[-1] < len(known):
            raise TransferkitError(
                f"{where}: labels go from {kinds[0]} to {kinds[-1]}, and class_names has "
                f"{counted(len(known), 'name')}, from 0 on."
            )
        texts = [known[kind] for kind in kinds]
    else:
        texts = _texts(where, "label", kinds)
    texts = [class_name(text) for text in texts]
    names = in_natural_order(set(texts))
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[text] for text in texts], dtype=np.int64)[rows.reshape(-1)], names


def known_names(path: Path, names: Any) -> list[str]:
    """The names of the classes 0..C-1.

    Raises:
        TransferkitError: If they are no list of different names.
    """
    if names.ndim != 1 or names.dtype.kind not in "SUiu":
        raise TransferkitError(
            f"{path}: class_names of shape {names.shape} and type {names.dtype}. Expected text, (C,)."
        )
    texts = _texts(str(path), "class name", names)
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise TransferkitError(
            f"{path}: class_names has {quoted(twice[0])} {len(twice)} times. Expected each name once."
        )
    return texts


def _whole(where: str, labels: Any) -> Any:
    """Numbers as whole ones, text as it is."""
    if labels.dtype.kind == "b":
        return labels.astype(np.int64)
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)
        broken = labels[~((labels == np.round(labels)) & (np.abs(labels) <= MOST))]
        if len(broken):
            raise TransferkitError(
                f"{where}: labels such as {quoted(float(broken[0]))} are no classes; predicting a number is "
                "regression, which transferkit does not do."
            )
        return labels.astype(np.int64)
    if labels.dtype.kind not in "iuSU":
        raise TransferkitError(f"{where}: labels of type {labels.dtype}. Expected whole numbers or text.")
    return labels


def _texts(where: str, what: str, values: Any) -> list[str]:
    """Each value as text that can be a name."""
    texts = [_decoded(where, what, value) if isinstance(value, bytes) else str(value) for value in values.tolist()]
    if strange := [text for text in texts if not text.strip() or not is_plain(text) or len(text) > LONGEST]:
        raise TransferkitError(
            f"{where}: the {what} {quoted(strange[0])}. Expected 1 to {LONGEST:,} characters, no control characters."
        )
    return texts


def _decoded(where: str, what: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise TransferkitError(f"{where}: the {what} {quoted(value)} is no text in UTF-8.") from None
