"""Numbers of a network that are none: refused before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from transferkit.runtime.array_types import Features
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.plurals import counted


def require_finite_logits(logits: npt.NDArray[np.float32], ids: tuple[str, ...]) -> None:
    """Refuse NaN and infinity.

    Raises:
        MachineError: Names the first such image.
    """
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise MachineError(
            f"The network gives logits that are not finite for {len(bad)} of {counted(len(ids), 'image')}, first "
            f"{ids[bad[0]]}. "
            "The weights are damaged or training diverged; try --precision fp32 or a smaller --lr."
        )


def finite(batches: Iterable[dict[str, Features]], ids: Sequence[str]) -> Iterator[dict[str, Features]]:
    """The same batches; NaN and infinity are refused.

    Raises:
        MachineError: Names the layer and the first such image.
    """
    done = 0
    for batch in batches:
        count = len(next(iter(batch.values())))
        require_finite(batch, ids[done : done + count])
        done += count
        yield batch


def require_finite(batch: Mapping[str, Features], ids: Sequence[str]) -> None:
    """Refuse NaN and infinity.

    Raises:
        MachineError: Names the layer and the first such image.
    """
    for layer, features in batch.items():
        bad = np.flatnonzero(~np.isfinite(features.reshape(len(features), -1)).all(axis=1))
        if len(bad):
            raise MachineError(
                f"Layer {layer!r} gives features that are not finite for {len(bad)} of {counted(len(ids), 'image')} "
                f"of a batch, first {ids[bad[0]]}. The weights are damaged or overflow; try precision fp32."
            )


def narrowed(features: Mapping[str, Features], dtype: str, ids: Sequence[str]) -> dict[str, Features]:
    """Features as numbers of fewer bits.

    Raises:
        TransferkitError: If one is larger than these can be; names the layer and the first such image.
    """
    with np.errstate(over="ignore"):
        narrow = {layer: values.astype(dtype) for layer, values in features.items()}
    for layer, values in narrow.items():
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(bad):
            raise TransferkitError(
                f"Layer {layer!r} gives features above {np.finfo(dtype).max:,.0f}, the most that {dtype} holds, first "
                f"for {ids[bad[0]]}. Use --dtype float32."
            )
    return narrow
