"""A run as something that answers requests."""

from __future__ import annotations

from transferkit import report
from transferkit.deploy.prediction import Model, no_threshold
from transferkit.deploy.serving.application import Service
from transferkit.deploy.serving.documents import ServedRun
from transferkit.deploy.serving.explaining import explainer_of
from transferkit.deploy.serving.meters import Meters
from transferkit.deploy.serving.reading import ImageReader
from transferkit.deploy.serving.settings import ServeSettings
from transferkit.deploy.serving.uploads import Waiting
from transferkit.deploy.serving.worker import Worker
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError


def service_of(run: Run, model: Model, settings: ServeSettings) -> Service:
    """Everything that the addresses need of a run; nothing is started.

    Raises:
        TransferkitError: If its images are no photographs in colour, which alone can be sent.
    """
    if model.reading.channels != 3:
        raise TransferkitError(
            f"The images of this run have {model.reading.channels} bands, and a server takes photographs of red, green "
            "and blue. Use transferkit predict."
        )
    meters, limits = Meters(), settings.limits
    explainer = explainer_of(run, model) if settings.explains else None
    return Service(
        settings,
        about_of(run, model, settings),
        ImageReader(model.storage_px, model.reading, limits.pixels),
        Worker(model, settings.acceptance, explainer, meters),
        meters,
        Waiting(limits.waiting),
    )


def about_of(run: Run, model: Model, settings: ServeSettings) -> ServedRun:
    """What a program or a person first asks."""
    limits = settings.limits
    return ServedRun(
        run=run.path.resolve().name,
        headline=report.result_sentence(run),
        class_names=model.class_names,
        no_unknown_because=no_threshold(model),
        explains=settings.explains,
        most_bytes=limits.bytes,
        most_pixels=limits.pixels,
        most_images=limits.images,
    )
