"""A run's JSON files, whole and damaged: what is wrong is told with its file and place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_runs import finished_run

import transferkit
from transferkit.features.networks import default_px
from transferkit.models import backbones
from transferkit.models.description import describe
from transferkit.models.stored_model import write_model
from transferkit.models.weights.sources import from_run
from transferkit.recipe import BackboneSettings
from transferkit.runs.facts import read_facts
from transferkit.runs.run_directory import Run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_tensors
from transferkit.runtime.json_files import AGAIN, SCHEMAS, read_json
from transferkit.runtime.records import read_result

GROUP = {"stage": "stem", "parameters": 1, "trainable": True}
CLASS = {"name": "a", "n": 1, "confidence": 0.5, "accuracy": 0.5, "gap": 0.0, "interval": None}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run of resnet-mini that can be loaded."""
    run = finished_run(tmp_path / "run")
    settings = BackboneSettings(name="resnet-mini", weights="none")
    classifier = backbones.load(settings, run.model.class_names, 16, SILENT)
    write_tensors(run.path / "model.safetensors", classifier.state_dict())
    write_model(run.path, describe(classifier, settings))
    return Run(run.path)


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON: Expecting value"),
        (b'{"a": 1', "is no JSON: Expecting ',' delimiter"),
        (b"\0" * 64, "is no JSON: Expecting value"),
        (b"\xff\xfe{", "is no JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "is no JSON of ours: it is nested too deeply"),
        (b'{"a": NaN}', "is no JSON: it holds NaN"),
        (b"9" * 5000, "is no JSON: Exceeds the limit"),
    ],
)
def test_a_file_that_is_no_json_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_bytes(content)

    with pytest.raises(TransferkitError) as caught:
        read_json(tmp_path / "facts.json")

    assert str(caught.value).startswith(f"{tmp_path}/facts.json {words}")


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "input is missing": lambda model: model.pop("input"),
    "input.std is [0, 1, 1], expected three positive": lambda model: model["input"].update(std=[0, 1, 1]),
    "input.size is -8, expected positive": lambda model: model["input"].update(size=-8),
    "input.interpolation is 'nearest', expected 'bilinear' or 'bicubic'": lambda m: m["input"].update(
        interpolation="nearest"
    ),
    "class_names is 'cat', expected a list": lambda model: model.update(class_names="cat"),
    "backbone.name is missing": lambda model: model["backbone"].clear(),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_results_of_another_schema_are_refused_with_what_to_type(name: str, tmp_path: Path) -> None:
    place, here = tmp_path / name, SCHEMAS[name]

    for schema, whose in ((here - 1, "an earlier"), (here + 1, "a newer")):
        place.write_text(json.dumps({"schema": schema}))

        with pytest.raises(TransferkitError) as caught:
            read_result(place)

        assert str(caught.value) == (
            f"{place} was written by {whose} version of transferkit (schema {schema}, here {here}), which computed its "
            f"numbers in another way. Make it again: {AGAIN[name]}."
        )


def test_results_of_this_schema_are_read(tmp_path: Path) -> None:
    (tmp_path / "ranking.json").write_text(json.dumps({"schema": SCHEMAS["ranking.json"], "n": 3}))

    assert read_result(tmp_path / "ranking.json")["n"] == 3


@pytest.mark.parametrize("words", DAMAGES)
def test_whoever_reads_a_damaged_model_json_says_so(words: str, run: Run) -> None:
    changed(run.path / "model.json", DAMAGES[words])
    readers: list[Callable[[], object]] = [
        lambda: load_classifier(Run(run.path)),
        lambda: from_run(run.path, "resnet-mini"),
        lambda: default_px("resnet-mini", str(run.path)),
    ]

    for read in readers:
        with pytest.raises(TransferkitError) as caught:
            read()
        assert f"model.json is damaged: {words}. Copy it back" in str(caught.value)


def test_a_backbone_with_strange_keys_is_damage_too(run: Run) -> None:
    changed(run.path / "model.json", lambda model: model["backbone"].update(dropout="much"))

    with pytest.raises(
        TransferkitError, match=r"model.json is damaged: backbone.dropout is 'much', expected float. Copy it back"
    ):
        load_classifier(run)


def test_weights_that_do_not_belong_to_model_json_are_told(run: Run) -> None:
    write_tensors(run.path / "model.safetensors", {"body.weight": torch.zeros(1)})

    with pytest.raises(
        TransferkitError, match=r"model.safetensors does not hold the network that model.json describes"
    ):
        load_classifier(run)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"data": 1}', '{"seconds": {}, "data": {"n": "x"}}'])
def test_damaged_facts_are_told_when_a_run_is_opened(content: str, run: Run) -> None:
    (run.path / "facts.json").write_text(content)

    with pytest.raises(TransferkitError, match=r"facts.json is (damaged|no JSON): "):
        transferkit.load(run.path)


def test_a_damaged_line_of_the_history_is_named(run: Run) -> None:
    (run.path / "history.jsonl").write_text('{"epoch": 1}\n{"epo\n')

    with pytest.raises(TransferkitError, match=r"history.jsonl, line 2 is damaged: '\{\"epo'"):
        _ = run.history


def test_what_a_run_writes_has_the_shape_that_is_read(run: Run) -> None:
    assert run.model.parameters is not None
    assert read_facts(run.path).data.n.test > 0
    assert run.evaluation.test.n > 0


# ------------------------------------------------------------------------------------------- calls with other things


def test_load_takes_what_training_returned(run: Run) -> None:
    model = transferkit.load(run)

    tensor = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)

    assert [found.name for found in model.predict(tensor)] == [found.name for found in model.predict(tensor.numpy())]


@pytest.mark.parametrize("thing", [None, 5, torch.nn.Linear(1, 1)])
def test_load_says_what_it_wants(thing: Any) -> None:
    with pytest.raises(
        TransferkitError, match=rf"An object of type {type(thing).__name__} is no run. Expected a run's"
    ):
        transferkit.load(thing)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            torch.full((2, 3, 8, 8), -1.0),
            r"with values from -1 to -1. Expected uint8, .* floats from 0 to 1: leave Norm",
        ),
        ([torch.full((3, 8, 8), torch.nan)], "with values that are no numbers. Expected uint8"),
        (None, "An object of type NoneType is no image"),
        (np.zeros((0, 8, 8, 3), np.uint8), "No images. Expected"),
        ("a\0b", r"There is no file or folder a\\x00b"),
    ],
)
def test_predict_says_what_it_wants(images: Any, words: str, run: Run) -> None:
    with pytest.raises(TransferkitError, match=words):
        transferkit.load(run).predict(images)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"acceptance": 7}, {"acceptance": "x"}])
def test_predict_names_an_option_out_of_range(options: dict[str, Any], run: Run) -> None:
    with pytest.raises(TransferkitError, match=rf"{next(iter(options))} is .*; expected"):
        transferkit.load(run).predict(np.zeros((1, 8, 8, 3), np.uint8), **options)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"backbone": 5},
            r"takes the name of a backbone, such as 'resnet18' or '.*', or an nn.Module; found 5\.$",
        ),
        ({"resize": "stretch"}, "resize is 'stretch'. Available: crop, squash"),
        ({"compile": True}, "compile is True. Available: auto, off, on"),
        ({"store": "no"}, "store is 'no'. Expected True or False"),
        (
            {"weights": Path("x")},
            "weights is a PosixPath. Expected imagenet, none, hf:USER/NAME, or the path of a file",
        ),
        ({"size": "large"}, "size is 'large'. Expected a number of px"),
        ({"layer": 5}, "layer is 5. Expected the name of a layer"),
    ],
)
def test_a_feature_extractor_says_what_it_wants(settings: dict[str, Any], words: str) -> None:
    extractor = transferkit.FeatureExtractor(
        **{"backbone": "resnet-mini", "weights": "none", "store": False, **settings}
    )

    for asked in (extractor.fit, extractor.transform):
        with pytest.raises(TransferkitError, match=words):
            asked(np.zeros((1, 8, 8, 3), np.uint8))


def test_rank_and_compare_want_a_list_of_names() -> None:
    for call in (transferkit.rank, transferkit.compare):
        with pytest.raises(TransferkitError, match=r"backbones is 'resnet18'. Expected a list of names"):
            call("resnet18")
        with pytest.raises(TransferkitError, match=r"Expected a list of names, as in"):
            call([torch.nn.Linear(1, 1)])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        (
            "facts.json",
            lambda f: f.update(parameter_groups=[{**GROUP, "wakes_at": "x"}]),
            "parameter_groups.0.wakes_at",
        ),
        ("evaluation.json", lambda e: e.update(since_start={"n": None}), "since_start.start is missing"),
        ("facts.json", lambda f: f.update(trained_parameters="x"), "trained_parameters is 'x'"),
        ("facts.json", lambda f: f["data"]["fingerprint"].pop("test"), "data.fingerprint.test is missing"),
        ("evaluation.json", lambda e: e["test"]["calibration"].update(by_class=[CLASS]), "by_class.0.interval is None"),
    ],
)
def test_json_that_a_page_cannot_be_made_of_is_told_with_its_place(
    run: Run, file: str, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    changed(run.path / file, change)

    with pytest.raises(TransferkitError, match=rf"{re.escape(file)} is damaged: .*{re.escape(told)}"):
        _ = Run(run.path).facts, Run(run.path).evaluation


@pytest.mark.parametrize(
    ("line", "told"), [({"loss": 1.0}, "epoch is missing"), ({"epoch": 1, "lr": "x"}, "lr is 'x'")]
)
def test_a_damaged_line_of_the_history_is_told_with_its_number(run: Run, line: dict[str, Any], told: str) -> None:
    (run.path / "history.jsonl").write_text(json.dumps({"epoch": 0}) + "\n" + json.dumps(line))

    with pytest.raises(TransferkitError, match=rf"history\.jsonl, line 2 is damaged: {told}"):
        _ = run.history
