"""The layers of a network as a tree with totals, and networks side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from transferkit.models.classifier import Classifier
from transferkit.models.receptive_fields import LayerFacts, layers, total_flops
from transferkit.report.table_files import PaperTable, write_table
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.named_networks import named_network

LAST, MIDDLE, BAR, SPACE = "└ ", "├ ", "│ ", "  "  # two columns a level, so that deep trees fit a terminal
COUNTED: Mapping[str, tuple[type[nn.Module], ...]] = {
    "convolutions": (nn.Conv2d,),
    "dense layers": (nn.Linear,),
    "BatchNorm layers": (nn.BatchNorm2d, nn.BatchNorm1d),
}


@dataclass(frozen=True)
class Branch:
    """One line of the tree.

    Attributes:
        guide: What leads from the root to this line.
        name: The last part of the layer's name.
        facts: None of a group that gives no tensor itself, such as a list of blocks.
    """

    guide: str
    name: str
    facts: LayerFacts | None


@dataclass(frozen=True)
class NetworkSummary:
    """A whole network in numbers.

    Attributes:
        name: As it was asked for.
        size_px: Side of the input.
        parameters: Of body and head, shared ones once.
        head_parameters: Of the classification layer.
        flops: Operations for one image, two per multiply-add.
        layers: How many of each kind, the head among the dense ones.
        widest: Shape of the map with most values.
        last_map: Shape of the last map that has height and width.
        receptive_field: Of that map's values, in px.
        features: Width of what the head gets.
    """

    name: str
    size_px: int
    parameters: int
    head_parameters: int
    flops: int
    layers: Mapping[str, int]
    widest: tuple[int, ...]
    last_map: tuple[int, ...]
    receptive_field: int | Literal["global"] | None
    features: int


def tree(facts: Sequence[LayerFacts]) -> list[Branch]:
    """The layers as lines, each group before its members.

    Example:
        >>> conv = LayerFacts("block.0", "Conv2d", (1, 2, 2), 3, 1, 9, 72)
        >>> [branch.guide + branch.name for branch in tree([conv])]
        ['└ block', '  └ 0']
    """
    by_name = {layer.name: layer for layer in facts}
    children: dict[str, list[str]] = {}
    for name in by_name:
        parts = name.split(".")
        for depth in range(len(parts)):
            siblings = children.setdefault(".".join(parts[:depth]), [])
            path = ".".join(parts[: depth + 1])
            if path not in siblings:
                siblings.append(path)
    return list(_branches("", "", children, by_name))


def _branches(
    parent: str, guide: str, children: Mapping[str, list[str]], by_name: Mapping[str, LayerFacts]
) -> Iterator[Branch]:
    paths = children.get(parent, [])
    for path in paths:
        is_last = path == paths[-1]
        yield Branch(guide + (LAST if is_last else MIDDLE), path.rpartition(".")[2], by_name.get(path))
        yield from _branches(path, guide + (SPACE if is_last else BAR), children, by_name)


def summary(name: str, classifier: Classifier, size_px: int) -> NetworkSummary:
    """A network's totals, for images of this side."""
    return summary_of(layers(classifier, size_px), name, classifier, size_px)


def summary_of(facts: Sequence[LayerFacts], name: str, classifier: Classifier, size_px: int) -> NetworkSummary:
    """The same where the facts of the layers are there already."""
    maps = [layer for layer in facts if len(layer.shape) == 3 and layer.shape[1] * layer.shape[2] > 1]
    widest = max(facts, key=lambda layer: _values(layer.shape))
    last = maps[-1] if maps else facts[-1]
    head = classifier.num_features * len(classifier.class_names)
    return NetworkSummary(
        name,
        size_px,
        sum(parameter.numel() for parameter in classifier.parameters()),
        facts[-1].parameters,
        total_flops(classifier.body, size_px) + 2 * head,
        counts(classifier),
        widest.shape,
        last.shape,
        last.receptive_field,
        classifier.num_features,
    )


def counts(classifier: nn.Module) -> dict[str, int]:
    """How many layers of each kind a network has."""
    kinds = Counter(
        kind for module in classifier.modules() for kind, types in COUNTED.items() if isinstance(module, types)
    )
    return {kind: kinds[kind] for kind in COUNTED}


def _values(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


@dataclass(frozen=True)
class LayerListing:
    """What is shown of some networks: tables with titles, and the same as plain values."""

    titles: tuple[str, ...]
    tables: tuple[PaperTable, ...]
    values: Any
    note: str = "A backbone is shown with a head for two classes, a run with its own."

    def write(self, path: Path) -> None:
        """Write the table into a file; the suffix decides the format.

        Raises:
            TransferkitError: If there are several tables, or the format is unknown.
        """
        if len(self.tables) > 1:
            raise TransferkitError("A file holds one table. Name one network for --out, or add --compare.")
        write_table(self.tables[0], path)


def trees(names: Sequence[str], keys: Sequence[str], size: int | None, console: Console) -> LayerListing:
    """Each network as a tree.

    Args:
        names: Backbones or runs.
        keys: `backbone.key=value`, for all.
        size: Side of the input in px; None takes a run's, or what suits the backbone.
        console: Hears about what is loaded.

    Raises:
        TransferkitError: If a network is unknown or cannot take images of this size.
    """
    networks = {name: named_network(name, "none", size, console, keys).classifier for name in names}
    facts = {name: layers(network, px_of(network, size)) for name, network in networks.items()}
    tables = []
    for name, network in networks.items():
        totals = summary_of(facts[name], name, network, px_of(network, size))
        tables.append(PaperTable(("layer", *TREE_TITLES), tree_rows(facts[name], totals)))
    plain = {name: [vars(layer) for layer in of_network] for name, of_network in facts.items()}
    return LayerListing(tuple(names), tuple(tables), plain if len(plain) > 1 else plain[names[0]])


def compared(names: Sequence[str], keys: Sequence[str], size: int | None, console: Console) -> LayerListing:
    """The totals of all networks side by side; see `trees`.

    Raises:
        TransferkitError: If there is one network alone, or one is unknown or cannot take images of this size.
    """
    if len(names) < 2:
        raise TransferkitError("A comparison needs two networks: transferkit layers alexnet resnet18 --compare")
    networks = {name: named_network(name, "none", size, console, keys).classifier for name in names}
    summaries = [summary(name, network, px_of(network, size)) for name, network in networks.items()]
    table = PaperTable(("", *(network.name for network in summaries)), comparison_rows(summaries))
    return LayerListing(("comparison",), (table,), [vars(network) for network in summaries])


def px_of(network: Classifier, size: int | None) -> int:
    """Side of the input in px."""
    return size or network.input_spec.size


def total_row(network: NetworkSummary) -> tuple[str, ...]:
    """The last line of the tree."""
    return ("total", "", "", "", "", f"{network.parameters:,}", operations(network.flops))


TREE_TITLES = ("kind", "shape", "field", "stride", "parameters", "flops")  # behind the name


def tree_rows(facts: Sequence[LayerFacts], network: NetworkSummary) -> list[tuple[str, ...]]:
    """The tree as a table, below the name and `TREE_TITLES`; a group's numbers are those of all that is in it."""
    rows = [(branch.guide + branch.name, *_cells(branch.facts)) for branch in tree(facts)]
    return [*rows, total_row(network)]


def _cells(layer: LayerFacts | None) -> tuple[str, ...]:
    if layer is None:
        return ("",) * len(TREE_TITLES)
    numbers = f"{layer.parameters:,}", operations(layer.flops)
    return layer.kind, _shape(layer.shape), _or_dash(layer.receptive_field), _or_dash(layer.stride), *numbers


def comparison_rows(networks: Sequence[NetworkSummary]) -> list[tuple[str, ...]]:
    """Networks side by side: a row per property."""
    return [
        ("input, px", *(str(network.size_px) for network in networks)),
        *((kind, *(str(network.layers[kind]) for network in networks)) for kind in COUNTED),
        ("parameters", *(f"{network.parameters:,}" for network in networks)),
        ("of these, in the head", *(f"{network.head_parameters:,}" for network in networks)),
        ("flops", *(operations(network.flops) for network in networks)),
        ("largest map", *(_shape(network.widest) for network in networks)),
        ("last map", *(_shape(network.last_map) for network in networks)),
        ("its receptive field, px", *(_or_dash(network.receptive_field) for network in networks)),
        ("features", *(f"{network.features:,}" for network in networks)),
    ]


def operations(count: int) -> str:
    """A number of operations for reading.

    Example:
        >>> operations(14_484), operations(236_027_904), operations(3_627_124_736)
        ('14,484', '236.0 M', '3.63 G')
    """
    if count < 1_000_000:
        return f"{count:,}"
    return f"{count / 1e6:.1f} M" if count < 1_000_000_000 else f"{count / 1e9:.2f} G"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
