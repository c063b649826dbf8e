"""The YAML at the top of a card, by which the hub sorts models."""

from __future__ import annotations

import yaml

from transferkit.deploy.card.licences import hub_licence, library_of
from transferkit.metrics.results import Scores
from transferkit.runs.run_directory import Run
from transferkit.runtime.json_files import JsonObject, JsonValue

TASK = "image-classification"  # the hub's name for it


def front_matter(run: Run, name: str) -> str:
    """Between two lines of dashes, as huggingface_hub reads it.

    Args:
        run: A finished run.
        name: Of the model.
    """
    return f"---\n{yaml.safe_dump(_matter(run, name), sort_keys=False, allow_unicode=True)}---"


def _matter(run: Run, name: str) -> JsonObject:
    licence, library, scores = hub_licence(run), library_of(run), run.evaluation.test
    matter: dict[str, JsonValue] = {"license": licence, "pipeline_tag": TASK}
    if licence == "other":
        matter["license_name"] = "see-data-and-licences"
    if library == "timm":
        matter["library_name"] = "timm"
    matter["tags"] = [TASK, "transferkit", run.recipe.backbone.name.removeprefix("timm/")]
    if scores.n:
        matter["model-index"] = [{"name": name, "results": [_result(run, scores)]}]
    return matter


def _result(run: Run, scores: Scores) -> JsonObject:
    low, high = scores.interval
    data = {"name": run.facts.data.name, "type": run.facts.data.name, "split": "test"}
    name = f"accuracy (n = {scores.n:,}, 95 % interval {low:.4f} to {high:.4f})"
    metrics: list[JsonValue] = [{"type": "accuracy", "value": round(scores.accuracy, 4), "name": name}]
    return {"task": {"type": TASK}, "dataset": data, "metrics": metrics}
