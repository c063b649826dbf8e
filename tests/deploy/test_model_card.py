"""A run's model card, what lies beside it, and how it comes to a hub."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from stand_in_hub import StandIn, point_at, running
from test_exports import answers, stored
from typer.testing import CliRunner

from transferkit.api.trained_run import TrainedRun
from transferkit.cli.app import app
from transferkit.data.decoding import decode
from transferkit.deploy.card import licences
from transferkit.deploy.export.bundle import Program, model_card
from transferkit.deploy.export.source import source_of
from transferkit.deploy.hub_repository import write_repository
from transferkit.models import backbones
from transferkit.models.heads import NeighbourHead
from transferkit.models.stored_model import WeightsRecord
from transferkit.recipe import BackboneSettings
from transferkit.recipe.data import FolderData
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.json_files import SCHEMAS

VIT = "timm/vit_tiny_patch16_224"


def run_of(folder: Path, name: str = "resnet18", **facts: Any) -> Run:
    """A finished run with random weights, its input and other facts changed."""
    run = stored(folder, name, 64)
    run.write_model(replace(run.model, **facts))
    return Run(run.path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with running(tmp_path / "hub", monkeypatch) as stand_in:
        monkeypatch.setenv("HF_TOKEN", "hf_standin")
        yield stand_in


def command(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["card", *map(str, words)])
    problem = str(result.exception) if isinstance(result.exception, TransferkitError) else ""
    return getattr(result.exception, "exit_code", result.exit_code), problem + result.output


def python_of(card: str) -> str:
    (lines,) = re.findall(r"```python\n(.*?)\n```", card, re.S)
    return str(lines)


@pytest.mark.slow
def test_in_python_a_run_writes_the_card_of_the_command(tmp_path: Path) -> None:
    run = TrainedRun(run_of(tmp_path / "run"))
    assert command(run.path, "--out", tmp_path / "by-command")[0] == 0

    folder = run.card()

    assert folder == run.path / "card"
    assert (folder / "model.safetensors").is_file()
    for name in ("README.md", "config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "by-command" / name).read_bytes()
    with pytest.raises(TransferkitError, match="overwrite"):
        run.card()


# ------------------------------------------------------------------------------- what the lines of Python answer


@pytest.mark.parametrize(
    ("name", "crop", "mirror"), [("resnet18", 1.0, False), ("timm/mobilenetv3_small_050", 0.7, True), (VIT, 1.0, False)]
)
def test_the_printed_lines_load_strictly_and_answer_as_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, crop: float, mirror: bool
) -> None:
    run = run_of(tmp_path / "run", name)
    spec = replace(run.model.input, crop=crop, interpolation="bicubic")
    run = run_of(tmp_path / "run", name, input=spec, averages_mirror=mirror)
    folder = write_repository(run, tmp_path / "card")
    monkeypatch.chdir(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.jpg", quality=95, exif=orientation(6))

    program = python_of((folder / "README.md").read_text())
    values: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(program, values)

    square = torch.from_numpy(decode(Path("photo.jpg"), 12, "squash"))[None]
    expected = answers(run, square)[1].softmax(1)[0]
    assert "strict=True" in program
    assert ("img_size=64" in program) == (name == VIT)
    torch.testing.assert_close(values["probabilities"], expected, atol=2e-3, rtol=0)
    assert values["answer"] == run.model.class_names[int(expected.argmax())]


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def test_files_that_were_cropped_are_cropped_by_the_lines(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    data = FolderData(name="folder", path=str(tmp_path), fit="crop")
    run.write_recipe(run.recipe.model_copy(update={"data": data}))

    program = python_of(card_of(Run(run.path), tmp_path))

    assert "image = ImageOps.fit(image, (12, 12), Image.Resampling.BILINEAR)" in program


def card_of(run: Run, folder: Path) -> str:
    return (write_repository(run, folder / "card", overwrite=True) / "README.md").read_text()


@pytest.mark.slow
def test_timm_loads_the_folder_itself(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", VIT)
    folder = write_repository(run, tmp_path / "card")

    network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    tensors = load_file(folder / "model.safetensors")
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape for name, value in tensors.items()
    }
    assert torch.equal(network.state_dict()["head.weight"], tensors["head.weight"])
    assert tuple(network.pretrained_cfg["mean"]) == run.model.input.mean


# ------------------------------------------------------------------------------------------------ what the card says


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    record = WeightsRecord("timm", "a1_in1k", "ab" * 32, "apache-2.0")
    run = run_of(tmp_path / "run", "timm/mobilenetv3_small_050", weights=record)

    data: Any = ModelCard(card_of(run, tmp_path)).data

    (result,) = data.eval_results
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "timm", "image-classification")
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("cifar10", "accuracy", 0.7)
    assert result.metric_name == "accuracy (n = 40, 95 % interval 0.5457 to 0.8193)"  # Wilson, 28 of 40


def test_a_licence_that_the_hub_has_no_name_for_is_called_other(tmp_path: Path) -> None:
    data: Any = ModelCard(card_of(run_of(tmp_path / "run"), tmp_path)).data

    assert (data.license, data.license_name) == ("other", "see-data-and-licences")


def test_the_card_says_how_good_and_where_not_to_trust_it(tmp_path: Path) -> None:
    record = WeightsRecord("torchvision", "IMAGENET1K_V1", "5c106cde", "BSD (torchvision)")
    card = card_of(run_of(tmp_path / "run", weights=record), tmp_path)

    opening = next(line for line in card.split("---\n", 2)[2].splitlines() if line and not line.startswith("#"))
    assert re.search(
        r" gets 70\.0 % of 40 test images right \(95 % interval: 54\.6 to 81\.9\)\. ", opening.replace("\\", "")
    )
    assert "Accuracy 70.0 % (54.6 to 81.9) on 40 test images." in card
    assert "| cat | 10 | 70.0 % (39.7 to 89.2) |" in card
    assert "It knows 4 classes and answers with one of them, whatever an image shows: cat, dog, ship, truck." in card
    assert "It has learnt from 100 images, and 40 more helped to choose settings." in card
    assert "“cat” was predicted as “dog” 3 times (30.0 % of it)." in card
    assert ".." not in card.replace(" ...", "")
    assert "Data: cifar10, 100 train, 40 val and 40 test images of 12 x 12 px. Terms: cite the authors." in card
    assert "torchvision, IMAGENET1K\\_V1, SHA-256 5c106cde. Licence: BSD (torchvision)." in card
    assert f"Code: torchvision. Licence: {licences.code_licence('torchvision')}." in card
    assert f"Code: transferkit. Licence: {licences.code_licence('transferkit')}." in card


def test_neither_paths_nor_commands_of_the_user_are_in_the_card(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    facts = replace(run.facts, command="transferkit finetune resnet18 --data folder:/home/me/patients")
    run.write_facts(facts)

    card = card_of(Run(run.path), tmp_path)

    assert "patients" not in card
    assert str(tmp_path) not in card


def test_hostile_class_names_stay_text(tmp_path: Path) -> None:
    names = ("<img src=x onerror=alert(1)>", "a|b\n# c", '"""; import os', "``` ---")
    card = card_of(run_of(tmp_path / "run", class_names=names), tmp_path)

    prose = card.replace(python_of(card), "")
    program = compile(python_of(card), "card", "exec")
    assert "<img" not in prose
    assert not re.search(r"^# c", card, re.M)
    assert "os" not in program.co_names


def test_an_exported_folder_has_the_same_card(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")

    exported = model_card(source_of(run), Program("onnx", "model.onnx", ("onnxruntime",)), ("It is small.",))

    written = card_of(run, tmp_path)
    for title in ("## How good it is", "## Where not to trust it", "## Data and licences", "## How it was made"):
        assert title in exported
        assert title in written
    assert "pip install onnxruntime numpy pillow\npython predict.py photo.jpg" in exported
    assert "- It is small." in exported


# ------------------------------------------------------------------------------------ what its limits report found

FOUND = {
    "schema": SCHEMAS["limits.json"],
    "summary": {
        "lines": [
            {"id": "S8", "light": "amber", "text": "It finds 40 % of <b>cats</b>.", "evidence": "n = 12"},
            {"id": "S9", "light": "red", "text": "It cannot promise 2 % errors.", "evidence": ""},
        ],
        "not_tested": ["other images (--shift FOLDER)", "noise"],
    },
}


def where_not_to_trust(run: Run, tmp_path: Path) -> str:
    return card_of(run, tmp_path).partition("## Where not to trust it\n")[2].partition("\n## ")[0]


def write_limits(run: Run, content: str) -> None:
    (run.path / "limits").mkdir()
    (run.path / "limits" / "limits.json").write_text(content)


def test_what_limits_found_is_quoted_and_stays_text(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    write_limits(run, json.dumps(FOUND))

    section = where_not_to_trust(run, tmp_path)

    assert "- S8: It finds 40 % of &lt;b&gt;cats&lt;/b&gt;. (n = 12)\n- S9: It cannot promise 2 % errors.\n" in section
    assert "- Not tested by its limits report: other images (--shift FOLDER); noise." in section
    assert "was not looked at" not in section


def test_without_a_limits_report_the_card_says_so_with_the_command(tmp_path: Path) -> None:
    section = where_not_to_trust(run_of(tmp_path / "run"), tmp_path)

    assert "was not looked at. To look: transferkit limits RUN" in section
    assert str(tmp_path) not in section


@pytest.mark.parametrize("content", ["{", json.dumps({**FOUND, "schema": 1})])
def test_a_limits_report_that_cannot_be_read_is_named_not_passed_over(tmp_path: Path, content: str) -> None:
    run = run_of(tmp_path / "run")
    write_limits(run, content)

    section = where_not_to_trust(run, tmp_path)

    assert "is damaged or of another version" in section
    assert "transferkit limits RUN --overwrite" in section


# ---------------------------------------------------------------------------------------- other networks, and folders


def test_a_network_of_no_library_says_so_and_gives_its_body(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "resnet20", 32)

    card = card_of(run, tmp_path)

    file = tmp_path / "card" / "model.safetensors"
    loaded = backbones.load(BackboneSettings(name="resnet20", weights=str(file)), ("a", "b"), 32, SILENT)
    expected = {name: value for name, value in load_file(run.path / "model.safetensors").items() if "body" in name}
    assert "resnet20 is in no other library" in card
    assert "```python" not in card
    for name, value in loaded.body.state_dict().items():
        assert torch.equal(value, expected[f"body.{name}"])


def test_training_images_that_a_head_remembers_are_not_given_away(tmp_path: Path) -> None:
    head = NeighbourHead(torch.randn(6, 512), torch.arange(6) % 4, 4, k=3)
    run = stored(tmp_path / "run", "resnet18", head=head)

    card_of(run, tmp_path)

    assert {name.partition(".")[0] for name in load_file(tmp_path / "card" / "model.safetensors")} == {"body"}


def test_the_weights_are_prepared_for_as_the_run_was_when_another_starts_from_them(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    spec = replace(run.model.input, mean=(0.1, 0.2, 0.3), crop=0.7, interpolation="bicubic")
    folder = write_repository(run_of(tmp_path / "run", input=spec), tmp_path / "card")
    settings = BackboneSettings(name="resnet18", weights=str(folder / "model.safetensors"))

    loaded = backbones.load(settings, ("a", "b"), 64, SILENT)

    assert loaded.input_spec == spec
    assert backbones.lookup(settings).made_for_px() == 64


def test_an_earlier_card_is_replaced_when_asked_alone(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")

    first, refused, again = (command(run.path, *words) for words in ((), (), ("--overwrite",)))

    assert (first[0], refused[0], again[0]) == (0, 2, 0)
    assert "already holds a model card" in refused[1]
    assert {path.name for path in (run.path / "card").iterdir() if not path.name.startswith(".")} == {
        "README.md",
        "model.safetensors",
        "config.json",
    }


# ----------------------------------------------------------------------------------------------------------- the hub


@pytest.mark.slow
def test_what_is_pushed_is_what_others_start_from(hub: StandIn, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")

    code, _ = command(run.path, "--push", "me/pets", "--json")

    settings = BackboneSettings(name="resnet18", weights="hf:me/pets")
    loaded = backbones.load(settings, ("a", "b"), 64, SILENT)
    assert code == 0
    assert set(hub.repositories["me/pets"]) == {"README.md", "model.safetensors", "config.json"}
    assert 'hf_hub_download("me/pets", "model.safetensors")' in hub.repositories["me/pets"]["README.md"].decode()
    assert torch.equal(
        loaded.body.state_dict()["conv1.weight"], load_file(run.path / "model.safetensors")["body.conv1.weight"]
    )
    assert json.loads(hub.repositories["me/pets"]["config.json"])["label_names"] == list(run.model.class_names)


@pytest.mark.slow
def test_a_new_repository_is_private_unless_asked(hub: StandIn, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")

    command(run.path, "--push", "me/first")
    command(run.path, "--push", "me/second", "--public", "--overwrite")

    assert hub.private == {"me/first": True, "me/second": False}


def test_who_may_not_write_is_told(hub: StandIn, tmp_path: Path) -> None:
    hub.writable = False

    code, words = command(run_of(tmp_path / "run").path, "--push", "me/pets")

    assert code == 2
    assert re.search(r"http://127.0.0.1:\d+ does not let you write to me/pets \(403\)\. Log in", words)


def test_without_a_token_nothing_is_done(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    run = run_of(tmp_path / "run")

    code, words = command(run.path, "--push", "me/pets")

    assert (code, hub.requests) == (2, [])
    assert "Nobody is logged in at the hub. Type: hf auth login" in words
    assert not (run.path / "card").exists()


@pytest.mark.usefixtures("hub")
def test_a_name_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    code, words = command(run_of(tmp_path / "run").path, "--push", "pets")

    assert code == 2
    assert "--push 'pets' is no repository. Expected USER/NAME." in words


@pytest.mark.usefixtures("hub")
def test_without_network_the_card_stays_and_one_message_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)
    run = run_of(tmp_path / "run")

    code, words = command(run.path, "--push", "me/pets")

    assert code == 1
    assert "Could not send to me/pets at http://127.0.0.1:9" in words
    assert (run.path / "card" / "README.md").exists()
