"""What all groups of a recipe's keys have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from transferkit.recipe.yaml_text import dump_yaml

SEEDS = 2**32  # numpy's and scikit-learn's generators take no more
LARGEST_PX = 2048  # side of a network's input; ten gigabytes of maps per image
LARGEST_BATCH = 65_536
MOST_IMAGES = 10**9
MOST_RUNS = 5000  # of a study
MOST_SEEDS = 1000
MOST_EPOCHS = 100_000
MOST_DEVICES = 64  # of one machine


class RecipePart(BaseModel):
    """A group of a recipe's keys: unknown keys are errors, values never change; every number has two bounds.

    What checks the values is built when the first ones come: `--help` needs names and descriptions alone.

    Attributes:
        open_defaults: What a key that is left open becomes, in words; of keys whose default says too little.
    """

    open_defaults: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)

    def to_yaml(self) -> str:
        """YAML of these keys, without those that are left open; what reads a whole recipe gets the same one back."""
        return dump_yaml(self.model_dump(mode="json", exclude_none=True))

    def each_key(self, place: str = "") -> Iterator[tuple[str, Any, Any]]:
        """Each key as a path below `place`, with its value and its default."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, RecipePart):
                yield from value.each_key(f"{place}{name}.")
            else:
                yield f"{place}{name}", value, field.get_default(call_default_factory=True)


def hash_of(values: Any) -> str:
    """Eight hex digits over these values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
