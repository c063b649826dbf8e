"""Wrong values on the command line and in recipes: our words alone say what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import refused, transferkit
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.recipe import DATA_MODELS, METHOD_MODELS, Recipe, SimpleCnnSettings, parse_any
from transferkit.recipe.mistakes import TransferkitError

LIBRARY_WORDS = re.compile(
    r"value error|assertion failed|input should|unable to|validation|pydantic|valid (in|num|dict|bool)"
)
WRONG = ("", "x", "-1", "1.5", ".nan", -1, float("nan"), [], ["a"], {"a": 1}, True, None, "9" * 30)


def shown(arguments: str) -> str:
    """What a command line that is refused prints, on one line without the frame; of an error of ours, its message."""
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code != 0
    text = re.sub(r"[╭╮╰╯│─]", " ", result.output) if result.exit_code == 2 else str(result.exception)
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("finetune resnet18 --data digits --epochs x", "'--epochs': expected a whole number; found 'x'."),
        ("finetune resnet18 --data digits --lr fast", "'--lr': expected a number; found 'fast'."),
        ("finetune resnet18 --data digits --precision fp8", "'fp8' is not one of 'auto', 'fp32', 'bf16'."),
        ("compare resnet18 resnet34 --data digits --seeds 0", "'--seeds': expected at least 1; found '0'."),
        ("limits run --corruptions ful", "'ful' is not one of 'none', 'fast', 'full'. Did you mean 'full'?"),
        ("finetune resnet18 --data digits --epochs=-3", "method.epochs: expected at least 1; found -3."),
        ("finetune resnet18 --data digits --mixup 1000", "method.mixup: expected at most 100; found 1000.0."),
        ("probe resnet18 --data digits --size foo", "method.size: expected a whole number or 'auto'; found 'foo'."),
        ("rank resnet18 resnet34 --data digits --images 3", "images: expected at least 10; found 3."),
    ],
)
def test_a_wrong_value_says_in_plain_words_what_was_expected(arguments: str, expected: str) -> None:
    message = shown(arguments)

    assert expected in message
    assert not LIBRARY_WORDS.search(message.lower())


def refusals() -> list[str]:
    """What is said of every key of a recipe with each wrong value."""
    base = {"data": {"name": "digits"}, "backbone": {"name": "simple-cnn"}, "method": {"name": "probe"}}
    groups = [("method", name, model) for name, model in METHOD_MODELS.items()]
    groups += [("data", name, model) for name, model in DATA_MODELS.items()]
    groups += [("backbone", "simple-cnn", SimpleCnnSettings)]
    recipes = [
        {**base, group: {"name": name, key: value}}
        for group, name, model in groups
        for key in model.model_fields
        for value in WRONG
        if key != "name"
    ]
    recipes += [{**base, key: value} for key in Recipe.model_fields for value in WRONG]
    messages = []
    for recipe in recipes:
        try:
            parse_any(recipe, "recipe.yaml")
        except TransferkitError as error:
            messages.append(str(error))
    return messages


def test_no_wrong_value_in_a_recipe_is_told_in_the_words_of_a_library() -> None:
    messages = refusals()

    assert len(messages) > 1000
    assert [message for message in messages if LIBRARY_WORDS.search(message.lower())] == []


@pytest.mark.parametrize(
    ("typed", "path", "quoted"),
    [
        (["predict", "run", "new/my", "photo", "1.jpg"], "new/my photo 1.jpg", '"new/my photo 1.jpg"'),
        (["probe", "resnet18", "--data", "My", "Photos"], "My Photos", '"My Photos"'),
        (["probe", "resnet18", "--data=My", "Photos"], "My Photos", '"My Photos"'),
        (["labels", "runs/my", "run"], "runs/my run", '"runs/my run"'),  # Typer itself refuses a word too many
        (["labels", "runs/my", "$5"], "runs/my $5", "'runs/my $5'"),
    ],
)
def test_a_name_with_spaces_that_exists_is_told_to_need_quotes(
    typed: list[str], path: str, quoted: str, tmp_path: Path
) -> None:
    (tmp_path / path).mkdir(parents=True)

    message = refused(transferkit(*typed, cwd=tmp_path))

    assert message.endswith(f"Names with spaces need quotes: {quoted}.")


def test_words_that_are_no_path_together_are_told_nothing_of_quotes(tmp_path: Path) -> None:
    assert "quotes" not in refused(transferkit("probe", "resnet18", "--data", "My", "Photos", cwd=tmp_path))


def test_a_command_unlike_any_other_is_answered_with_those_there_are() -> None:
    assert "No such command 'foo'. Available: convolution, depth, equivariance, mask-rcnn, softmax." in shown("lab foo")
    assert "No such command 'dpeth'. Did you mean 'depth'?" in shown("lab dpeth")
