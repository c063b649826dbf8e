"""What all groups of a recipe's keys have in common."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of a recipe's keys: unknown keys are errors, values never change.

    What checks the values is built when the first ones come: `--help` needs names and descriptions alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def hash_of(values: Any) -> str:
    """Eight hex digits over these values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
