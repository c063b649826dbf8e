"""Help: what a page shows, that its defaults are true and its examples are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from command_line import refused, transferkit

from transferkit.cli import app as cli
from transferkit.cli import completion
from transferkit.cli.help_pages import ALL, UsageError
from transferkit.cli.help_texts import EXAMPLES, SECTIONS
from transferkit.models.backbones import card
from transferkit.recipe import METHOD_MODELS, TrainingSettings
from transferkit.studies import pages
from transferkit.training.defaults import default_batch, default_epochs
from transferkit.training.methods.finetune_rates import FIXED_STATISTICS, TRAINED_STATISTICS, TRANSFORMER
from transferkit.training.methods.scratch_rates import FAMILIES


@pytest.fixture
def program() -> Any:
    return typer.main.get_command(cli.app)


def page(*arguments: str) -> str:
    result = transferkit(*arguments, cwd=Path.cwd(), COLUMNS="80")
    assert result.returncode == 0, result.stderr
    return result.stdout


def options_of(text: str) -> list[str]:
    return re.findall(r"^  (?:-\w, )?(--\S+)", text, flags=re.M)


def test_help_of_finetune_fits_two_screens_with_three_examples() -> None:
    text = page("finetune", "--help")

    assert len(text.splitlines()) <= 47  # two screens of 24 lines, less the prompt
    assert 15 <= len(options_of(text)) <= 19  # --help among them
    assert len(re.findall(r"^  transferkit finetune ", text, flags=re.M)) == 3


def test_every_command_takes_v_for_details(tmp_path: Path) -> None:
    few = ("--limit-per-class", "4", "--test-fraction", "0.05", "--data", "digits")

    brief = transferkit("probe", "resnet-mini", "--weights", "none", *few, "--out", "brief", cwd=tmp_path)
    verbose = transferkit("probe", "resnet-mini", "--weights", "none", *few, "--out", "verbose", "-v", cwd=tmp_path)

    table = "stage   parameters  state"
    assert (table in brief.stderr, table in verbose.stderr) == (False, True), verbose.stderr
    assert "  -v, --verbose " in page("limits", "--help")


def test_every_option_of_finetune_has_a_sentence_and_what_it_becomes_when_left_out() -> None:
    section = page("finetune", "--help").partition("Options:")[2].partition("  --overwrite")[0]
    entries = re.split(r"^  (?=--)", section, flags=re.M)[1:]

    assert len(entries) >= 10
    assert [entry for entry in entries if not re.search(r"\. \(default: .+\)", " ".join(entry.split()))] == []


def test_help_all_shows_every_option_that_help_leaves_out() -> None:
    usual, whole = page("finetune", "--help"), page("finetune", ALL)

    left_out = int(re.findall(r"(\d+) more, rarely needed: .*finetune --help-all", usual)[0])
    assert len(options_of(whole)) == len(options_of(usual)) + left_out
    assert {"--mixup", "--split-seed", "--precision"} <= set(options_of(whole))
    assert "--[no-]skip-bad" in whole


@pytest.mark.parametrize("command", ["limits", "serve"])
def test_help_leaves_rare_options_of_other_commands_out(command: str) -> None:
    usual, whole = page(command, "--help"), page(command, ALL)

    assert len(usual.splitlines()) <= 38
    assert len(options_of(whole)) >= len(options_of(usual)) + 5


def test_help_all_has_the_groups_that_help_does_without() -> None:
    titles = ["Data:", "Backbone:", "Method:", "Run:"]

    assert [title for title in titles if f"\n{title}\n" not in page("finetune", ALL)] == []


def test_a_help_page_keeps_what_stands_in_brackets() -> None:
    assert "[lowest,highest]" in " ".join(page("finetune", ALL).split())


def test_help_before_a_command_is_help_behind_it() -> None:
    assert page("help", "finetune") == page("finetune", "--help")
    assert page("help", "recipes", "copy") == page("recipes", "copy", "--help")


def test_help_of_an_unknown_command_names_the_nearest(tmp_path: Path) -> None:
    assert "There is no command 'finetun'. Did you mean 'finetune'?" in refused(
        transferkit("help", "finetun", cwd=tmp_path)
    )


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        (("finetune", "resnet18", "--epoch", "3"), "No such option: --epoch. Did you mean --epochs?"),
        (("finetune", "resnet18", "--quiet"), "No such option: --quiet. All options: transferkit finetune --help-all"),
        (("--quiet",), "No such option: --quiet. All options: transferkit --help-all"),
    ],
)
def test_an_unknown_option_suggests_near_ones_or_the_page_of_all(
    typed: tuple[str, ...], advice: str, program: Any
) -> None:
    with pytest.raises(UsageError) as error:
        program.main(list(typed), prog_name="transferkit", standalone_mode=False)

    assert error.value.format_message() == advice


@pytest.mark.parametrize("words", [(), ("lab",)])
def test_without_a_command_the_list_of_commands_is_shown(words: tuple[str, ...]) -> None:
    result = transferkit(*words, cwd=Path.cwd(), COLUMNS="80")

    assert result.returncode == 2
    assert result.stdout == page(*words, "--help")


def test_the_list_of_commands_stands_in_sections(program: Any) -> None:
    text = page("--help")

    assert [title for title in SECTIONS if f"{title}:\n" not in text] == []
    named = {name for names in SECTIONS.values() for name in names}
    assert named <= set(program.commands)
    assert [name for name in program.commands if not re.search(rf"^  {name} ", text, flags=re.M)] == []


def test_examples_are_commands_with_options_that_exist(program: Any) -> None:
    typed = [shlex.split(line) for examples in EXAMPLES.values() for line, _ in examples]

    assert len(typed) >= 30
    for command, *words in typed:
        known = {flag for parameter in program.commands[command].params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, (command, words)


@pytest.mark.parametrize(("train_images", "epochs"), [(1_999, 30), (2_000, 10), (19_999, 10), (20_000, 3)])
def test_the_epochs_that_help_names_are_those_of_fine_tuning(train_images: int, epochs: int) -> None:
    words = METHOD_MODELS["finetune"].open_defaults["epochs"]
    method = METHOD_MODELS["finetune"](name="finetune")

    assert words == "30; 10 from 2,000 training images on, 3 from 20,000 on"
    assert isinstance(method, TrainingSettings)
    assert default_epochs(method, train_images) == epochs


@pytest.mark.parametrize(("name", "share"), [("finetune", 64), ("scratch", 10)])
def test_the_batch_that_help_names_is_the_default(name: str, share: int) -> None:
    method = METHOD_MODELS[name](name=name)
    assert isinstance(method, TrainingSettings)
    batches = [default_batch(method, images, card("resnet18")) for images in (1, 32 * share, 64 * share, 10**6)]

    assert batches == [16, 32, 64, 128]
    assert METHOD_MODELS[name].open_defaults["batch_size"] == f"16 to 128, about a {share}th of the images"


def test_the_rates_that_help_names_are_the_defaults() -> None:
    finetune, scratch = (METHOD_MODELS[name].open_defaults["lr"] for name in ("finetune", "scratch"))

    fixed, without = FIXED_STATISTICS["adamw"].lr, TRANSFORMER["adamw"].lr
    assert finetune == (
        f"{TRAINED_STATISTICS['sgd'].lr}, by SGD, if BatchNorm is trained; by AdamW {fixed} if it is kept, "
        f"{without} without"
    )
    assert scratch == (
        f"{FAMILIES['resnet'].lr} for ResNets, {FAMILIES['vgg_bn'].lr} for VGG with BatchNorm, {FAMILIES['vgg'].lr} "
        f"without, {FAMILIES['timm'].lr} for timm"
    )
    assert FAMILIES["resnet"].lr == FAMILIES["resnet-deep"].lr


def test_the_shell_completes_backbones_data_sets_folders_and_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cells").mkdir()
    monkeypatch.chdir(tmp_path)

    assert completion.backbones("resnet1") == ["resnet101", "resnet152", "resnet18", "resnet18-cifar"]
    assert completion.data_sets("c") == ["cifar10", "cifar100", "cells"]
    assert completion.data_sets(f"{tmp_path}/c") == [f"{tmp_path}/cells"]
    assert completion.data_sets("/no/such/folder") == []
    assert completion.recipes("lab-d") == ["lab-dropout"]


def test_the_shell_completes_names_of_timm_as_timm_lists_them() -> None:
    import timm

    names = completion.backbones("timm/resnet1")

    assert completion.backbones("tim") == ["timm/"]
    assert names == sorted(f"timm/{name}" for name in timm.list_models() if name.startswith("resnet1"))
    assert len(names) >= 10


def test_the_shell_completes_runs_by_number_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.yaml").touch()
        (tmp_path / "runs" / name / "evaluation.json").touch()
    monkeypatch.chdir(tmp_path)

    assert completion.runs("@") == ["@last", "@2"]
    assert completion.runs("runs/") == ["runs/a", "runs/b"]


def test_the_shell_completes_the_figures_of_the_folder_that_was_typed(tmp_path: Path) -> None:
    def proposed(typed: str) -> list[str]:
        shell = {"_TRANSFERKIT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": "4"}
        return transferkit(cwd=tmp_path, _TYPER_COMPLETE_ARGS=typed, **shell).stdout.split()

    (tmp_path / "comparison.json").touch()

    assert proposed(f"transferkit report {tmp_path / 'none'} --figure ") == [
        "confusion",
        "layers",
        "recall",
        "training",
    ]
    assert proposed(f"transferkit report {tmp_path} --figure c") == ["cost"]


def test_every_folder_whose_figures_can_be_drawn_has_names_for_them() -> None:
    assert pages.FIGURE_NAMES.keys() == pages.DRAW.keys()
