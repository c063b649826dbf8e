"""The keys that say where work runs; they are no part of what is done, so results do not depend on them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Field

from transferkit.recipe.settings import RecipePart
from transferkit.runtime.errors import TransferkitError

MOST_WORKERS = 10_000
ExecutorName: TypeAlias = Literal["here", "processes", "slurm", "ray"]
Executor: TypeAlias = Annotated[
    ExecutorName | None,
    Field(description="Where arms run: here in turn, in processes of this machine, as jobs of Slurm, as tasks of Ray."),
]
Workers: TypeAlias = Annotated[
    int | None,
    Field(ge=1, le=MOST_WORKERS, description="How many arms at once, elsewhere than here; None: one per GPU, or core."),
]
PLACE = {"executor", "workers"}
Asked = TypeVar("Asked", bound=RecipePart)


def anywhere(asked: Asked) -> Asked:
    """The same work, without a word on where it runs."""
    return asked.model_copy(update=dict.fromkeys(PLACE))


def require_apart(executor: str | None, workers: int | None, source: str) -> None:
    """Refuse a number of workers that nothing would come of.

    Raises:
        TransferkitError: If work runs here, one piece after the other.
    """
    if workers is not None and executor in (None, "here"):
        raise TransferkitError(
            f"{source}: workers: {workers} has no effect where arms run here, one after the other. Add --executor "
            "processes (slurm, ray), or leave workers out."
        )
