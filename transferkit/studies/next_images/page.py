"""The images to label next as a page of thumbnails, each with its reason."""

from __future__ import annotations

from pathlib import Path

from transferkit.deploy.answer_page import MOST_PICTURES, thumbnails_of
from transferkit.deploy.answers import PredictionTask
from transferkit.features.extraction.listing import Listing
from transferkit.report.page import rendered
from transferkit.studies.next_images.results import NextImages

FOLDER = Path(__file__).parent


def next_page(task: PredictionTask, listing: Listing, chosen: NextImages) -> str:
    """One HTML file that loads nothing."""
    shown = chosen.images[:MOST_PICTURES]
    pictures = thumbnails_of(task, listing, [image.number for image in shown])
    return rendered(
        FOLDER / "next_images.html.jinja",
        extra_style=FOLDER / "next_images.css",
        chosen=chosen,
        shown=[(image, pictures[image.number]) for image in shown],
    )
