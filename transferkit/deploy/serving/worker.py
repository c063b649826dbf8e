"""One thread asks the model: images that come together share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np

from transferkit.data.images import Pixels
from transferkit.deploy.prediction import Model, Prediction, predictions
from transferkit.deploy.serving.documents import Explanation
from transferkit.deploy.serving.explaining import Explainer
from transferkit.deploy.serving.meters import Meters
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.array_types import Features


@dataclass(frozen=True)
class ExplainedPrediction:
    """What the model says of one image, and why, where that was asked."""

    prediction: Prediction
    explanation: Explanation | None = None


class NoNumber(Exception):
    """The network's answer to an image is no finite number."""


@dataclass(frozen=True)
class Job:
    """An image that waits for its verdict."""

    pixels: Pixels
    explain: bool
    verdict: Future[ExplainedPrediction] = field(default_factory=Future)


class Worker:
    """A thread and the images that wait for it; the queue is as long as those who submit let it become."""

    def __init__(self, model: Model, acceptance: float, explainer: Explainer | None, meters: Meters) -> None:
        self.model, self.acceptance, self.explainer, self.meters = model, acceptance, explainer, meters
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._most = model.fast.engine.batch_size()
        self._thread = Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether anybody answers."""
        return self._thread.is_alive()

    def submit(self, pixels: Pixels, *, explain: bool = False) -> Future[ExplainedPrediction]:
        """The verdict on one image (3, h, w), once it is there; a cancelled one is not worked out."""
        job = Job(pixels, explain)
        self._jobs.put(job)
        return job.verdict

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, is_last = self._together(first)
            running = [job for job in batch if job.verdict.set_running_or_notify_cancel()]
            if running:
                self._answer(running)
            if is_last:
                return

    def _together(self, first: Job) -> tuple[list[Job], bool]:
        """What waits already goes along; nobody waits for company. Whether the end was among it."""
        batch = [first]
        while len(batch) < self._most:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _answer(self, jobs: Sequence[Job]) -> None:
        self.meters.batch(len(jobs))
        try:
            self._resolve(jobs)
        except Exception as error:  # a fault ends these requests, not the thread that all others wait for
            for job in jobs:
                if not job.verdict.done():
                    job.verdict.set_exception(error)

    def _resolve(self, jobs: Sequence[Job]) -> None:
        pixels = np.stack([job.pixels for job in jobs])
        features, logits = self.model.fast.answers_to(pixels)
        is_finite = np.isfinite(logits).all(axis=1) & np.isfinite(features).all(axis=1)
        for row in np.flatnonzero(~is_finite).tolist():
            jobs[row].verdict.set_exception(NoNumber("the network's answer is no finite number"))
        rows = np.flatnonzero(is_finite).tolist()
        ids = tuple(map(str, rows))
        outputs = Outputs(features[rows], logits[rows], None, ids, self.model.class_names)
        answered = predictions(outputs, self.model.rejection, self.acceptance) if len(rows) else []
        chosen = [jobs[row] for row in rows]
        explanations = self._explained(chosen, outputs)
        for at, (job, prediction) in enumerate(zip(chosen, answered, strict=True)):
            job.verdict.set_result(ExplainedPrediction(prediction, explanations.get(at)))

    def _explained(self, jobs: Sequence[Job], outputs: Outputs) -> dict[int, Explanation]:
        """By position; of those that asked."""
        asking = [at for at, job in enumerate(jobs) if job.explain]
        if self.explainer is None or not asking:
            return {}
        features: Features = outputs.features[asking]
        classes = [int(label) for label in outputs.predictions[asking]]
        pixels = np.stack([jobs[at].pixels for at in asking])
        return dict(zip(asking, self.explainer.explanations(pixels, features, classes), strict=True))
