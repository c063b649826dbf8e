"""What stands beside a listed image: its nearest training images, and the places the network looked at."""

from __future__ import annotations

from typing import Any

from transferkit.features.explanations.explain import Explanations
from transferkit.report.content import Content
from transferkit.report.inline_images import data_uri, spotlit


def explained(content: Content) -> dict[int, dict[str, Any]]:
    """Neighbours and the picture lit by its map, by the image's position in the test outputs; {} without any."""
    found = content.explanations
    if found is None or not content.scores:
        return {}
    table = [data_uri(picture) for picture in found.pictures]
    return {
        index: {"spotlit": _spotlit(content, found, row), "neighbours": _neighbours(content, found, row, table)}
        for row, index in enumerate(found.indices.tolist())
    }


def _spotlit(content: Content, found: Explanations, row: int) -> str:
    picture = content.thumbnails.get(int(found.indices[row]))
    if picture is None or not found.maps[row].size:
        return ""
    return data_uri(spotlit(picture, found.maps[row], found.crop))


def _neighbours(content: Content, found: Explanations, row: int, table: list[str]) -> list[dict[str, str]]:
    return [
        {
            "picture": table[near],
            "name": content.class_names[int(found.labels[near])],
            "id": found.ids[near],
            "cosine": f"{cosine:.2f}",
        }
        for near, cosine in zip(found.neighbours[row].tolist(), found.similarities[row].tolist(), strict=True)
    ]


def explained_words(content: Content) -> str:
    """How neighbours and maps were made, with n and resolution."""
    found = content.explanations
    if found is None:
        return ""
    among = f"{found.searched:,}" + (f" of {found.train_images:,}" if found.searched < found.train_images else "")
    below = f"Below each: the training images most alike to the network (cosine of features, among {among})"
    below += ", in bold where their class is the answer. "
    if found.no_maps_because:
        return f"{below}There are no maps of where it looked: {found.no_maps_because}."
    height, width = found.maps.shape[1:]
    return (
        f"{below}Beside each: the places that spoke for the answer (Grad-CAM of {found.layer}, a map of "
        f"{width} x {height} px; what looks finer is interpolation)."
    )
