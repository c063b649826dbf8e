"""What stands beside a listed image: its nearest training images, and the regions that supported the prediction."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.metrics.explanations import Explanations
from transferkit.report.content import Content
from transferkit.report.inline_images import data_uri, spotlit


@dataclass(frozen=True)
class NearImage:
    """A training image beside a listed one: picture as a data URI, class, id, and cosine in words."""

    picture: str
    name: str
    id: str
    cosine: str


@dataclass(frozen=True)
class ExplainedImage:
    """The picture lit by its map, empty where there is none, and the nearest training images."""

    spotlit: str
    neighbours: list[NearImage]


def explained(content: Content) -> dict[int, ExplainedImage]:
    """Neighbours and the picture lit by its map, by the image's position in the test outputs; {} without any."""
    explanations = content.explanations
    if explanations is None or not content.scores:
        return {}
    table = [data_uri(picture) for picture in explanations.pictures]
    return {
        index: ExplainedImage(
            _spotlit(content, explanations, row),
            _neighbours(content, explanations, row, table),
        )
        for row, index in enumerate(explanations.indices.tolist())
    }


def _spotlit(content: Content, explanations: Explanations, row: int) -> str:
    picture = content.thumbnails.get(int(explanations.indices[row]))
    if picture is None or not explanations.maps[row].size:
        return ""
    return data_uri(spotlit(picture, explanations.maps[row], explanations.crop))


def _neighbours(content: Content, explanations: Explanations, row: int, table: list[str]) -> list[NearImage]:
    return [
        NearImage(
            table[near], content.class_names[int(explanations.labels[near])], explanations.ids[near], f"{cosine:.2f}"
        )
        for near, cosine in zip(
            explanations.neighbours[row].tolist(), explanations.similarities[row].tolist(), strict=True
        )
    ]


def explained_words(content: Content) -> str:
    """How neighbours and maps were made, with n and resolution."""
    explanations = content.explanations
    if explanations is None:
        return ""
    among = f"{explanations.searched:,}" + (
        f" of {explanations.train_images:,}" if explanations.searched < explanations.train_images else ""
    )
    below = f"Below each: the most similar training images (cosine of features, among {among})"
    below += ", in bold where their class is the answer. "
    if explanations.no_maps_because:
        return f"{below}There are no maps of where it looked: {explanations.no_maps_because}."
    height, width = explanations.maps.shape[1:]
    return (
        f"{below}Beside each: the regions that supported the prediction (Grad-CAM of {explanations.layer}, a map of "
        f"{width} x {height} px; what looks finer is interpolation)."
    )
