"""The type of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    pass

Features: TypeAlias = npt.NDArray[np.float32]
