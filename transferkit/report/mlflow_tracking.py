"""A run for MLflow through its own client, which decides where: MLFLOW_TRACKING_URI, or what it does without one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from transferkit.runs.run_directory import Run

PACKAGE, EXTRA = "mlflow", "mlflow"
EXPERIMENT = "transferkit"  # unless MLFLOW_EXPERIMENT_NAME says otherwise


def begin(run: Run, settings: Mapping[str, str]) -> MlflowTracker:
    """A run in MLflow, with its settings."""
    import os

    import mlflow

    client = mlflow.MlflowClient()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    tracked = client.create_run(number, run_name=run.path.resolve().name)
    for key, value in settings.items():
        client.log_param(tracked.info.run_id, key, value)
    return MlflowTracker(client, tracked.info.run_id)


class MlflowTracker:
    """Numbers of one run, sent as they come."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client, self.run_id = client, run_id

    def log(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Numbers of one epoch."""
        for name, value in numbers.items():
            self.client.log_metric(self.run_id, name, value, timestamp=int(time.time() * 1000), step=epoch)

    def finish(self, _run: Run, verdict: str) -> None:
        """The verdict, as the run's note."""
        self.client.set_tag(self.run_id, "mlflow.note.content", verdict)

    def close(self, *, is_complete: bool) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.run_id, "FINISHED" if is_complete else "FAILED")
