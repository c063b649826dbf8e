"""Folders of results other than runs: studies, rankings, limits reports; whose they are, and what may be replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from transferkit import recipe as recipes
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json


@dataclass(frozen=True)
class Kind:
    """What a folder of results holds.

    Attributes:
        name: In the manifest and on the screen.
        article: `this` where the folder also holds what was asked, as YAML, and the same command goes on with it.
        result: The JSON file that a finished one has; with `failures` in it, what failed is tried again.
        page: Written last.
    """

    name: str
    article: str
    result: str
    page: str = "report.html"

    def is_finished(self, folder: Path) -> bool:
        """Whether nothing is left to do there."""
        result = folder / self.result
        is_whole = result.exists() and (folder / self.page).exists()
        return is_whole and not read_json(result).get("failures")


STUDY = Kind("study", "this", "comparison.json")
COMPARISON = Kind("comparison", "a", "comparison.json")
FOLDS = Kind("cross-validation", "this", "folds.json")
RANKING = Kind("ranking", "this", "ranking.json")
TUNING = Kind("tuning", "this", "tuning.json")
LIMITS = Kind("limits report", "a", "limits.json", "limits.html")
LIMITS_COMPARISON = Kind("comparison of limits", "a", "limits-comparison.json", "limits-comparison.html")
GRADIENT_FLOW = Kind("measurement", "a", "gradient-flow.json")
SITE = Kind("site", "a", "index.json", "index.html")


@contextmanager
def claim(
    folder: Path,
    kind: Kind,
    *,
    overwrite: bool,
    content: recipes.Document | None = None,
) -> Iterator[None]:
    """Check that results may be written to a folder; inside, this process alone works there. See `require_free`."""
    require_free(folder, kind, overwrite=overwrite, content=content)
    with hold_results(folder, kind):
        require_free(folder, kind, overwrite=overwrite, content=content)  # another process may have ended meanwhile
        yield


def hold_results(folder: Path, kind: Kind) -> AbstractContextManager[None]:
    """Inside, this process alone works in the folder; what it writes there is listed in the manifest.

    Raises:
        TransferkitError: If the folder holds something else, or another process works in it.
    """
    folders.require_kind(folder, kind.name)
    return folders.hold(folder, kind.name)


def require_free(
    folder: Path,
    kind: Kind,
    *,
    overwrite: bool,
    content: recipes.Document | None = None,
) -> None:
    """Check that results may be written to a folder; nothing is changed yet.

    Args:
        folder: Where they shall be.
        kind: What they are.
        overwrite: Whether results there may be replaced.
        content: What the YAML file there holds if an earlier call of the same command made it.

    Raises:
        TransferkitError: If it holds something else, or is finished.
    """
    folders.require_kind(folder, kind.name)
    asked = folder / f"{kind.name}.yaml"
    if overwrite:
        return
    if content is not None and asked.exists() and recipes.load(asked) != content:
        raise TransferkitError(
            f"{folder} holds another {kind.name}. Choose another folder with --out, or use --overwrite."
        )
    if kind.is_finished(folder):
        raise TransferkitError(
            f"{folder} already holds {kind.article} {kind.name}. Look at {folder / kind.page}, choose another folder "
            f"with --out, or replace it with --overwrite."
        )


def clear_results(folder: Path) -> None:
    """Remove earlier results from a held folder, so that a kill cannot leave old ones beside new ones."""
    folders.remove(folder, folders.files_of(folder))
