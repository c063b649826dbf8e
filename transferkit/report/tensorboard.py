"""A run for TensorBoard, live or when it is finished; only where asked for, and only into the run's own folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transferkit.runs import run_directory
from transferkit.runs.run_directory import Run
from transferkit.runtime import folders

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

PACKAGE, EXTRA = "tensorboard", "track"
FOLDER, EVENTS = "tensorboard", "events.out.tfevents.*"  # the names are SummaryWriter's choice
PICTURES = 24  # of mistakes, at most
TRAINING = {  # key of history.jsonl: tag
    "loss": "train/loss",
    "val_accuracy": "val/accuracy",
    "val_loss": "val/loss",
    "lr": "train/learning rate",
    "gradient_norm": "train/gradient norm",
    "images_per_second": "train/images per second",
}
TEST = ("accuracy", "macro_recall", "nll", "brier", "ece")


def write(run: Run) -> Path | None:
    """Write what the run's recipe asks for: scalars of every epoch, the test numbers, confusion matrix and mistakes.

    Epoch 0 is the start.

    Returns:
        The folder to open with `tensorboard --logdir`, or None where the recipe asks for nothing.
    """
    if run.recipe.track != "tensorboard":
        return None
    with run_directory.hold_run(run), _opened(run) as writer:
        _write_numbers(run, writer)
    return run.path / FOLDER


def _opened(run: Run) -> SummaryWriter:
    """A file of events of its own, in place of those that were this run's before."""
    from torch.utils.tensorboard import SummaryWriter

    folder = run.path / FOLDER
    folders.remove(run.path, [name for name in folders.files_of(run.path) if name.startswith(f"{FOLDER}/")])
    of_others = set(folder.glob(EVENTS))
    writer = SummaryWriter(str(folder))
    folders.record_written(set(folder.glob(EVENTS)) - of_others)
    return writer


def begin(run: Run, settings: Mapping[str, str]) -> TensorboardTracker:
    """Events in the run's folder, the settings first."""
    writer = _opened(run)
    rows = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    writer.add_text("settings", f"| key | value |\n|---|---|\n{rows}")
    return TensorboardTracker(writer)


class TensorboardTracker:
    """Numbers of one run, on the disk as they come."""

    def __init__(self, writer: SummaryWriter) -> None:
        self.writer, self.last = writer, 0

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Numbers of one epoch."""
        self.last = epoch
        for tag, value in numbers.items():
            self.writer.add_scalar(tag, value, epoch)
        self.writer.flush()

    def finish(self, run: Run, verdict: str) -> None:
        """The verdict, the confusion matrix and mistakes."""
        self.writer.add_text("verdict", verdict, self.last)
        _write_pictures(run, self.writer, self.last)

    def close(self, *, is_complete: bool) -> None:  # noqa: ARG002
        """The file is complete as it is, however the run ended."""
        self.writer.close()


def _write_numbers(run: Run, writer: SummaryWriter) -> None:
    last = 0
    for tag, value, epoch, time in scalars(run):
        writer.add_scalar(tag, value, epoch, walltime=time)
        last = max(last, epoch)
    _write_pictures(run, writer, last)


def scalars(run: Run) -> Iterator[tuple[str, float, int, float]]:
    """Tag, value, epoch and time of every number, the test set's at the last epoch."""
    time = datetime.fromisoformat(run.facts.started).timestamp()
    epoch = 0
    for record in run.history:
        epoch, time = record.epoch, time + (record.seconds or 0.0)
        values = {tag: getattr(record, key) for key, tag in TRAINING.items()}
        yield from ((tag, value, epoch, time) for tag, value in values.items() if value is not None)
    yield from ((tag, value, epoch, time) for tag, value in test_numbers(run))


def test_numbers(run: Run) -> Iterator[tuple[str, float]]:
    """Tag and value of what the test set says."""
    test = {key: getattr(run.evaluation.test, key) for key in TEST}
    yield from ((f"test/{key}", value) for key, value in test.items() if not math.isnan(value))


def _write_pictures(run: Run, writer: SummaryWriter, epoch: int) -> None:
    writer.add_image("test/confusion matrix", _confusion(run), epoch, dataformats="HWC")
    thumbnails = run.thumbnails()
    rows = [row.index for row in run.evaluation.test.most_confident_mistakes[:PICTURES]]
    pictures = [thumbnails[index] for index in rows if index in thumbnails]
    if pictures:
        writer.add_images("test/most confident mistakes", np.stack(pictures), epoch)


def _confusion(run: Run) -> npt.NDArray[np.uint8]:
    """(H, W, 3), the figure that `transferkit report RUN --figure confusion` draws."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from transferkit.report.matplotlib_figures import drawn

    figure: Any = drawn(run, "confusion")
    figure.set_dpi(150)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture: npt.NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3]
    return picture
