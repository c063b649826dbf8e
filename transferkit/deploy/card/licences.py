"""Under which terms data, weights and code may be used, as their sources state them."""

from __future__ import annotations

from importlib import metadata

from transferkit.models.backbones import card
from transferkit.runs.run_directory import Run
from transferkit.runtime.plurals import counted

LIBRARIES = ("torchvision", "timm")
HUB_NAMES = {  # what the hub calls the licences that weights state
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "BSD-3-Clause": "bsd-3-clause",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
}


def library_of(run: Run) -> str:
    """torchvision or timm; empty for a network of neither."""
    source = card(run.recipe.backbone.name).source
    return source if source in LIBRARIES else ""


def hub_licence(run: Run) -> str:
    """The hub's name of the licence of the weights that a run started from; `other` where it has none."""
    stated = run.model.weights.licence if run.model.weights else "unknown"
    names = {name.lower(): name for name in HUB_NAMES.values()} | {name.lower(): hub for name, hub in HUB_NAMES.items()}
    return names.get(stated.lower(), "other")


def licences(run: Run) -> list[str]:
    """A sentence or two each for data, weights and code."""
    data, weights = run.facts.data, run.model.weights
    counts = data.n
    height, width = data.size_px[0], data.size_px[-1]
    lines = [
        f"Data: {data.name}, {counts.train:,} train, {counts.val:,} val and {counted(counts.test, 'test image')} of "
        f"{width} x {height} px. Terms: {_terms(data.terms)}."
    ]
    if weights:
        digest = f", SHA-256 {weights.sha256}" if weights.sha256 else ""
        lines.append(f"Weights it started from: {weights.source}, {weights.tag}{digest}. Licence: {weights.licence}.")
    packages = [name for name in (library_of(run), "transferkit") if name]
    return [*lines, *(f"Code: {name}. Licence: {code_licence(name)}." for name in packages)]


def _terms(terms: str | None) -> str:
    return "those of whoever owns the images" if terms == "yours" else terms or "unknown"


def code_licence(package: str) -> str:
    """As the package's metadata states it; unknown where it is not installed or says nothing.

    Example:
        >>> code_licence("no-such-package")
        'unknown'
    """
    try:
        facts = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return "unknown"
    stated = [*(facts.get_all("License-Expression") or []), *(facts.get_all("License") or [])]
    classified = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier") or [] if "License ::" in line]
    return next((text.splitlines()[0] for text in (*stated, *classified) if text), "unknown")
