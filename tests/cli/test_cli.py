"""The command line as a person meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from command_line import heeding_ctrl_c, image, refused, transferkit
from PIL import Image
from typer.models import OptionInfo

from transferkit import __version__, recipe
from transferkit.cli import app as cli
from transferkit.cli.doctor import MachineFinding, mended_torchvision
from transferkit.recipe import METHOD_MODELS, BackboneSettings, RankingRecipe, Recipe
from transferkit.recipe.data import DATA_MODELS
from transferkit.runtime.errors import TransferkitError

SMALL = ["--data", "digits", "--weights", "none", "--limit-per-class", "6", "--test-fraction", "0.1", "--threads", "1"]


@pytest.mark.slow
def test_help_of_every_command_fits_80_columns_and_imports_nothing_slow() -> None:
    code = """
import sys
import typer.main
from typer.testing import CliRunner
from transferkit.cli import app as cli

def paths(command, path):
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from paths(below, [*path, name])

for path in (every := list(paths(typer.main.get_command(cli.app), []))):
    result = CliRunner().invoke(cli.app, [*path, "--help"])
    assert result.exit_code == 0, (path, result.output)
    assert max(map(len, result.output.splitlines())) <= 80, result.output
assert len(every) >= 30, every
slow = {"torch", "torchvision", "timm", "numpy", "sklearn", "scipy", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""
    environment = {**os.environ, "COLUMNS": "80"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)

    assert result.returncode == 0, result.stderr


def test_import_of_the_package_imports_no_torch() -> None:
    code = "import transferkit, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_command_ends_with_json_on_stdout_and_prose_on_stderr(tmp_path: Path) -> None:
    result = transferkit("probe", "resnet20", *SMALL, "--json", "--out", "run", cwd=tmp_path)

    document = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert document["run"] == "run"
    assert document["test"]["n"] == 179  # of 1,797, a tenth of each class
    low, high = document["test"]["interval"]
    assert low < document["test"]["accuracy"] < high
    assert document["seconds"] > 0
    assert "The test set was opened once." in result.stderr
    assert "Report: run/report.html" in result.stderr
    assert max(map(len, result.stderr.splitlines())) <= 120


def test_a_verdict_can_be_kept_and_a_finished_run_that_is_resumed_says_it_again(tmp_path: Path) -> None:
    command = ("probe", "resnet20", *SMALL, "--out", "run", "--resume")

    first, again = (transferkit(*command, cwd=tmp_path) for _ in range(2))

    assert (first.returncode, again.returncode) == (0, 0)
    assert "Report: run/report.html" in first.stdout
    assert "data: 10 classes" in first.stderr
    assert again.stdout == first.stdout
    assert "run has this already, finished on 20" in again.stderr


def test_a_dry_run_draws_what_augment_makes_of_the_images_and_names_the_file(tmp_path: Path) -> None:
    command = ("scratch", "simple-cnn", "--data", "digits", "--limit-per-class", "5", "--dry-run")
    cache = {"TRANSFERKIT_CACHE": str(tmp_path / "cache")}

    plain = transferkit(*command, cwd=tmp_path, **cache)
    augmented = transferkit(*command, "--augment", "trivial", cwd=tmp_path, **cache)

    sentence = "What augment makes of your images: "
    assert (plain.returncode, augmented.returncode) == (0, 0)
    assert sentence not in plain.stderr
    path = re.search(f"{sentence}(.*\\.png)", augmented.stderr)
    assert path, augmented.stderr
    with Image.open(path[1]) as sheet:
        assert sheet.size == (2 * (8 * 10 - 2), 2 * (4 * 10 - 2))  # an image of 8 px and 7 copies, four rows, gaps of 2


@pytest.mark.slow
def test_the_recipe_of_a_dry_run_is_the_command(tmp_path: Path) -> None:
    command = ["finetune", "resnet20", *SMALL, "--epochs", "1", "--seed", "2"]
    dry = transferkit(*command, "--dry-run", cwd=tmp_path)
    (tmp_path / "same.yaml").write_text(dry.stdout)

    assert dry.returncode == 0, dry.stderr
    assert "Estimate: 60 labelled and 180 test images, 1 epoch and as many with val at 8 px" in dry.stderr.replace(
        "\n", " "
    )
    first = transferkit(*command, "--json", "--out", "a", cwd=tmp_path)
    second = transferkit("run", "same.yaml", "--json", "--out", "b", cwd=tmp_path)
    assert json.loads(first.stdout)["test"] == json.loads(second.stdout)["test"]


def test_a_folder_of_pictures_is_enough(pets: Path, tmp_path: Path) -> None:
    result = transferkit(
        *["finetune", "resnet20", "--data", f"folder:{pets}", "--weights", "none", "--epochs", "2"],
        *["--json", "--out", "run"],
        cwd=tmp_path,
    )
    named = transferkit("predict", "run", str(pets / "test" / "dog" / "0.png"), "--json", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["test"]["n"] == 8
    assert json.loads(named.stdout)[0]["class"] in ("cat", "dog")


def test_unknown_backbone(tmp_path: Path) -> None:
    message = refused(transferkit("finetune", "resnet8", *SMALL, cwd=tmp_path))

    assert "Unknown backbone 'resnet8'. Did you mean 'resnet18'?" in message
    assert "timm/<name>" in message


def test_a_backbone_of_timm_without_its_prefix_is_suggested_with_it(tmp_path: Path) -> None:
    message = refused(transferkit("finetune", "efficientnet_b0", *SMALL, cwd=tmp_path))

    assert "Unknown backbone 'efficientnet_b0'. Did you mean 'timm/efficientnet_b0'?" in message


def test_unknown_data_set(tmp_path: Path) -> None:
    assert "unknown data 'cifar1'. Did you mean 'cifar10'?" in refused(
        transferkit("probe", "resnet18", "--data", "cifar1", cwd=tmp_path)
    )


def test_a_folder_that_exists_is_data_without_a_word_before_it(pets: Path, tmp_path: Path) -> None:
    relative = transferkit("probe", "resnet20", "--data", pets.name, "--weights", "none", "--dry-run", cwd=pets.parent)
    absolute = transferkit("probe", "resnet20", "--data", str(pets), "--weights", "none", "--dry-run", cwd=tmp_path)

    for dry, path in ((relative, pets.name), (absolute, str(pets))):
        data = recipe.Recipe.from_yaml(dry.stdout).data
        assert (data.name, str(data.own_files)) == ("folder", path), dry.stderr


def test_a_folder_that_does_not_exist_is_no_unknown_data_set(tmp_path: Path) -> None:
    command = ["probe", "resnet20", "--weights", "none", "--data"]

    assert "no/such" in refused(transferkit(*command, "no/such", cwd=tmp_path))
    assert "unknown data 'photos'." in (message := refused(transferkit(*command, "photos", cwd=tmp_path)))
    assert "Nor is there a folder or a file of this name." in message


def test_unknown_key_of_an_override(tmp_path: Path) -> None:
    assert "unknown key 'method.epoch'. Did you mean 'epochs'?" in refused(
        transferkit("finetune", "resnet18", "method.epoch=3", cwd=tmp_path)
    )


def test_unknown_stage(tmp_path: Path) -> None:
    result = transferkit("finetune", "resnet20", *SMALL, "--freeze-to", "stag2", "--out", "run", cwd=tmp_path)

    assert "Unknown stage 'stag2'. Did you mean 'stage2'?" in refused(result)
    assert not (tmp_path / "run").exists()


def test_missing_folder(tmp_path: Path) -> None:
    message = refused(transferkit("probe", "resnet20", "--data", "folder:no/such", "--weights", "none", cwd=tmp_path))

    assert "no/such" in message


def test_classes_that_differ_between_train_and_test(pets: Path, tmp_path: Path) -> None:
    (pets / "test" / "dog").rename(pets / "test" / "hound")

    message = refused(transferkit("probe", "resnet20", "--data", f"folder:{pets}", "--weights", "none", cwd=tmp_path))

    assert "'hound'" in message
    assert "'dog'" in message


def test_unreadable_pictures_stop_the_run_or_are_listed(pets: Path, tmp_path: Path) -> None:
    (pets / "train" / "cat" / "empty.jpg").touch()
    command = ["probe", "resnet20", "--data", f"folder:{pets}", "--weights", "none", "--out", "run"]

    message = refused(transferkit(*command, cwd=tmp_path))
    skipped = transferkit(*command, "--skip-bad", cwd=tmp_path)

    assert "empty.jpg" in message
    assert "--skip-bad" in message
    assert skipped.returncode == 0, skipped.stderr
    assert "empty.jpg" in (tmp_path / "run" / "report.html").read_text()


def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'exploded'}",)

    torch.save({"weight": Bomb()}, tmp_path / "weights.pth")

    message = refused(
        transferkit("probe", "resnet18", "--data", "digits", "--weights", "weights.pth", "--size", "32", cwd=tmp_path)
    )

    assert "weights.pth" in message
    assert not (tmp_path / "exploded").exists()


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    import torchvision

    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "weights.pth")

    message = refused(
        transferkit("probe", "resnet18", "--data", "digits", "--weights", "weights.pth", "--size", "32", cwd=tmp_path)
    )

    assert "resnet34" in message
    assert "layer1.2.conv1.weight" in message


def test_a_text_file_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_text("hello")

    assert "weights.pth" in refused(
        transferkit("probe", "resnet18", "--data", "digits", "--weights", "weights.pth", "--size", "32", cwd=tmp_path)
    )


def test_size_too_small_for_alexnet_names_one_that_works(tmp_path: Path) -> None:
    message = refused(transferkit("probe", "alexnet", *SMALL, "--size", "48", cwd=tmp_path))

    assert "63" in message


def test_weights_that_cannot_be_downloaded_name_the_file_and_the_alternatives(tmp_path: Path) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    message = refused(transferkit("probe", "resnet18", "--data", "digits", "--size", "32", cwd=tmp_path, **proxy), 1)

    assert "resnet18-f37072fd.pth" in message
    assert "--weights FILE" in message
    assert "--weights none" in message


def test_a_finished_run_is_shown_again_and_one_with_another_option_refused(tmp_path: Path) -> None:
    command = ["probe", "resnet20", *SMALL, "--out", "run"]
    first = transferkit(*command, cwd=tmp_path)

    again = transferkit(*command, cwd=tmp_path)

    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "run has this already, finished on 20" in again.stderr
    assert "with seed=0, and seed=1 is asked for." in refused(transferkit(*command, "--seed", "1", cwd=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_stopped_keeps_the_last_epoch_and_says_how_to_go_on(
    sign: signal.Signals, code: int, tmp_path: Path
) -> None:
    """By Ctrl-C, or as schedulers and containers do it."""
    process = heeding_ctrl_c(["scratch", "resnet20", *SMALL, "--epochs", "2000", "--out", "run"], tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(sign)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == code
    assert "Traceback" not in errors
    assert "continue with the same command and --resume" in " ".join(errors.split())
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


STOPPABLE = {
    "transferkit.run.run": ("probe", "resnet20"),
    "transferkit.studies.compare.study.run_study": ("compare", "resnet20=none"),
    "transferkit.studies.rank.ranking.rank": ("rank", "resnet20=none"),
    "transferkit.features.extraction.streaming.extract": ("extract", "resnet20", "digits", "--out", "f.npy"),
    "transferkit.data.datasets.load": ("extract", "resnet20", "digits", "--out", "f.npy"),
}


@pytest.mark.parametrize("place", STOPPABLE)
def test_ctrl_c_ends_any_long_command_with_130(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, stop)

    result = transferkit(*STOPPABLE[place], cwd=tmp_path)

    assert result.returncode == 130
    assert "error: Stopped" in result.stderr


@pytest.mark.slow
def test_ctrl_c_within_a_study_ends_with_130_and_keeps_its_finished_runs(tmp_path: Path) -> None:
    arguments = ["compare", "resnet20", *SMALL, "--methods", "probe,scratch", "--seeds", "9", "--out", "study"]
    process = heeding_ctrl_c(arguments, tmp_path)
    first = tmp_path / "study" / "runs" / "probe-seed0" / "evaluation.json"
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.1)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, first.exists()) == (130, True), errors
    assert "Traceback" not in errors


def test_ctrl_c_within_code_from_a_string_ends_with_130_too(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(
        "from transferkit.cli import app\n"
        "app.needed = lambda *_: lambda: exec('raise KeyboardInterrupt')  # as dataclasses do when they are imported\n"
        "app.main()\n"
    )
    where = os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[2])])

    ended = subprocess.run(
        [sys.executable, "-m", "stopped"], env={**os.environ, "PYTHONPATH": where}, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stderr) == (130, "error: Stopped.\n")


def children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def gone_within(seconds: float, processes: Sequence[str]) -> bool:
    """Whether they end; one that Ctrl-C meets while it starts has not read yet that its parent is gone."""
    deadline = time.monotonic() + seconds
    while (alive := any(Path(f"/proc/{pid}").exists() for pid in processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs the processes in /proc")
def test_ctrl_c_while_processes_decode_ends_with_130_and_leaves_none_of_them(tmp_path: Path) -> None:
    image(tmp_path / "large.png", 100, side=1500)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(600):
            (tmp_path / "pets" / name / f"{number}.png").symlink_to(tmp_path / "large.png")
    process = heeding_ctrl_c(["probe", "resnet20", "--data", "folder:pets", "--weights", "none"], tmp_path)
    deadline = time.monotonic() + 120
    while not (started := children(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, len(started) > 0) == (130, True), errors
    assert "Traceback" not in errors
    assert gone_within(20, started)


def test_an_error_cannot_steer_the_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in refused(transferkit("report", "run\x1b[2J", cwd=tmp_path))


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="Unknown backbone"):
        transferkit("probe", "resnet8", "--debug", "--data", "digits", cwd=tmp_path)


@pytest.mark.slow
def test_report_rebuilds_the_page_and_draws_figures(tmp_path: Path) -> None:
    transferkit("probe", "resnet20", *SMALL, "--out", "run", cwd=tmp_path)
    (tmp_path / "run" / "report.html").unlink()

    rebuilt = transferkit("report", "run", cwd=tmp_path)
    drawn = transferkit("report", "run", "--figure", "confusion", "--out", "figure.svg", cwd=tmp_path)

    assert rebuilt.returncode == drawn.returncode == 0, rebuilt.stderr + drawn.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "figure.svg").read_text()


def test_lists_of_backbones_and_data_sets(tmp_path: Path) -> None:
    backbones = json.loads(transferkit("backbones", "resnet", "--json", cwd=tmp_path).stdout)
    datasets = transferkit("datasets", cwd=tmp_path, COLUMNS="80").stdout

    assert {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"} <= {card["name"] for card in backbones}
    assert "cifar10" in datasets
    assert max(map(len, datasets.splitlines())) <= 80


def test_layers_show_the_receptive_field_growing(tmp_path: Path) -> None:
    facts = json.loads(transferkit("layers", "resnet18", "--json", cwd=tmp_path).stdout)

    # the table of computed receptive fields and strides: conv1 7/2, pool 11/4, layer1 43/4 ... layer4 435/32
    fields = {fact["name"]: (fact["receptive_field"], fact["stride"]) for fact in facts}
    assert fields["conv1"] == (7, 2)
    assert fields["layer1"] == (43, 4)
    assert fields["layer4"] == (435, 32)


def test_a_recipe_is_copied_and_validated(tmp_path: Path) -> None:
    transferkit("recipes", "copy", "my-folder", "mine.yaml", cwd=tmp_path)

    assert transferkit("recipes", "validate", "mine.yaml", cwd=tmp_path).stdout == "mine.yaml: valid\n"


def test_schema_is_json(tmp_path: Path) -> None:
    assert json.loads(transferkit("recipes", "schema", cwd=tmp_path).stdout) == json.loads(json.dumps(recipe.schema()))


def test_doctor_names_this_machine(tmp_path: Path) -> None:
    result = transferkit("doctor", "--json", cwd=tmp_path)

    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert result.returncode == 0
    assert findings["torch"]["result"] == torch.__version__
    assert findings["torch"]["state"] == "ok"
    assert findings["transferkit"]["result"] == __version__
    assert re.fullmatch(r"\d+ GB", findings["memory"]["result"])


def test_doctor_says_what_to_type_when_torch_and_torchvision_do_not_match() -> None:
    broken = MachineFinding("torchvision", "broken", "RuntimeError: operator torchvision::nms does not exist")

    assert "pip install --force-reinstall torch torchvision" in mended_torchvision(broken, "2.13.0+cpu").advice


# ------------------------------------------------------------------------------------------------------ numbers


def numeric_options() -> dict[str, OptionInfo]:
    """Every numeric option that a command declares by itself; those of a recipe's keys are checked by the recipe."""
    models = [Recipe, RankingRecipe, BackboneSettings, *DATA_MODELS.values(), *METHOD_MODELS.values()]
    keys = {key for model in models for key in model.model_fields}
    found: dict[str, OptionInfo] = {}
    for command in cli.app.registered_commands:
        assert command.callback is not None
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items():
            kinds, option = get_args(parameter.annotation)[0], get_args(parameter.annotation)[-1]
            is_number = {kinds, *get_args(kinds)} & {int, float} and isinstance(option, OptionInfo)
            is_key = name in keys and parameter.kind is inspect.Parameter.KEYWORD_ONLY
            if is_number and not is_key:
                found[f"{command.name or command.callback.__name__} {name}"] = option
    return found


def test_every_numeric_option_has_two_bounds() -> None:
    options = numeric_options()

    assert len(options) >= 20
    assert [name for name, option in options.items() if option.min is None or option.max is None] == []


def test_a_number_above_its_bound_is_refused(tmp_path: Path) -> None:
    result = transferkit("gradient-flow", "--images", "1" + "0" * 30, cwd=tmp_path)

    assert result.returncode == 2
    assert "--images" in result.stderr
