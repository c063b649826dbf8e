"""Whether a result comes out again: a run, and a recipe that states its accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import refused, transferkit
from digits_recipe import digits
from synthetic_runs import finished_run, outputs

from transferkit import recipe as recipes
from transferkit import run as story
from transferkit.metrics.evaluation import evaluate
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.environment import Environment
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.verify.verification import Verification, verify_recipe, verify_run

Repeat = Callable[..., Verification]


@pytest.fixture
def repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repeat:
    """Verify a run of 7 in 10 right, as if its repetition got `wrong` of 10 wrong on images with this fingerprint."""

    def verified(wrong: int, per_class: int = 10, fingerprint: str = "cc" * 32) -> Verification:
        earlier = finished_run(tmp_path / "earlier")

        def run(*_: object, **__: object) -> Run:
            again = finished_run(tmp_path / "again")
            test = outputs(per_class=per_class, wrong=wrong)
            again.save_outputs({"test": test})
            again.write_evaluation(evaluate(test, test))
            data = again.facts.data
            prints = replace(data.fingerprint, test=fingerprint)
            again.write_facts(replace(again.facts, data=replace(data, fingerprint=prints)))
            return Run(again.path)

        monkeypatch.setattr(story, "run", run)
        return verify_run(earlier, tmp_path / "new", SILENT)

    return verified


def test_the_same_answers_are_reproduced(repeat: Repeat) -> None:
    result = repeat(wrong=3)

    assert result.is_reproduced
    assert result.pairing is not None
    assert result.pairing.same_answers == 40
    assert result.lines()[0].startswith("Reproduced: 70.0 % (95 % interval 54.6 to 81.9, n = 40) now, and 70.0 %")
    assert result.lines()[1] == "All 40 answers are the same."


def test_an_accuracy_within_the_interval_is_reproduced_and_paired(repeat: Repeat) -> None:
    result = repeat(wrong=4)  # 60 %; Wilson's interval of 28 of 40 goes from 54.6 to 81.9 %

    assert result.is_reproduced
    assert result.pairing is not None
    assert result.pairing.difference == pytest.approx(-0.1)
    assert result.pairing.same_answers == 36  # image 3 of each of four classes has another answer
    assert "-10.0 (" in result.lines()[1]
    assert "36 of 40 answers are the same" in result.lines()[1]


def test_an_accuracy_outside_the_interval_is_not_reproduced(repeat: Repeat) -> None:
    result = repeat(wrong=5)

    assert not result.is_reproduced
    assert result.lines()[0].startswith("NOT reproduced: 50.0 %")


def test_on_other_test_images_the_difference_counts_and_is_told(repeat: Repeat) -> None:
    result = repeat(wrong=50, per_class=100, fingerprint="dd" * 32)  # 200 of 400 against 28 of 40

    assert result.pairing is None
    assert not result.is_reproduced  # Newcombe: -20 points, -32.0 to -3.6
    assert "The test images are not those of the run" in " ".join(result.lines())
    assert repeat(wrong=5, fingerprint="dd" * 32).is_reproduced  # 20 of 40 against 28 of 40: as chance would have it


def test_other_versions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, again = finished_run(tmp_path / "earlier"), finished_run(tmp_path / "again")
    earlier.write_environment(Environment(device="cuda:0", packages={"torch": "2.0", "timm": "1.0"}))
    again.write_environment(Environment(device="cpu", packages={"torch": "2.1", "timm": "1.0"}))
    monkeypatch.setattr(story, "run", lambda *_, **__: Run(again.path))

    result = verify_run(Run(earlier.path), tmp_path / "new", SILENT)

    assert result.changes == ("device: cuda:0 then, cpu now.", "torch: 2.0 then, 2.1 now.")


def test_another_number_of_processes_is_named_where_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, again = finished_run(tmp_path / "earlier"), finished_run(tmp_path / "again")
    again.write_environment(Environment(processes=1))
    monkeypatch.setattr(story, "run", lambda *_, **__: Run(again.path))

    def changes(processes: int | None) -> tuple[str, ...]:
        earlier.write_environment(Environment(processes=processes))
        return verify_run(Run(earlier.path), tmp_path / "new", SILENT).changes

    assert changes(2) == ("processes: 2 then, 1 now.",)
    assert changes(1) == changes(None) == ()


def test_a_run_is_not_held_against_itself_nor_against_an_older_repetition(tmp_path: Path) -> None:
    earlier = finished_run(tmp_path / "earlier")

    with pytest.raises(TransferkitError, match=r"earlier holds a finished run, and verify makes one anew\. Choose"):
        verify_run(earlier, earlier.path, SILENT)


@pytest.mark.slow
def test_a_stopped_repetition_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = story.run(digits("probe"), tmp_path / "run", console=SILENT)
    with monkeypatch.context() as patch:
        patch.setattr(story, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            verify_run(run, tmp_path / "again", SILENT)
    assert Run(tmp_path / "again").exists

    assert verify_run(run, tmp_path / "again", SILENT).pairing


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_soup_cannot_be_made_by_its_recipe(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.write_facts(replace(run.facts, notes=("a soup (uniform): the mean of a, b",)))

    with pytest.raises(TransferkitError, match="is a soup of other runs, which no recipe makes"):
        verify_run(Run(run.path), tmp_path / "new", SILENT)


@pytest.mark.slow
def test_a_run_is_made_again_to_the_same_answers_and_stays_as_it_was(tmp_path: Path) -> None:
    run = story.run(digits("probe"), tmp_path / "run", console=SILENT)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}

    result = transferkit("verify", str(run.path), "--json", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["is_reproduced"]
    assert told["pairing"]["same_answers"] == told["repeated"]["n"]
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_recipe_is_held_against_the_range_that_it_states(tmp_path: Path) -> None:
    recipe = digits("probe").model_copy(update={"stated_accuracy": (0.0, 1.0)})
    impossible = recipe.model_copy(update={"stated_accuracy": (0.0, 0.001)})
    (tmp_path / "mine.yaml").write_text(impossible.to_yaml())

    assert verify_recipe(recipe, "mine", tmp_path / "again", SILENT).is_reproduced
    result = transferkit("verify", "mine.yaml", cwd=tmp_path)

    assert result.returncode == 1
    assert "is outside the range that mine.yaml states, 0 to 0.1 %." in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lab-convolution", "lab-dropout"])
def test_a_shipped_recipe_comes_out_as_it_states(name: str, tmp_path: Path) -> None:
    result = transferkit("verify", name, cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert f"is within the range that {name} states" in " ".join(result.stdout.split())


def test_a_recipe_without_a_range_says_how_to_state_one(tmp_path: Path) -> None:
    words = refused(transferkit("verify", "probe-resnet18", cwd=tmp_path))

    assert "states no range to hold a result against. Write one into it, as in stated_accuracy: [0.92, 0.95]" in words
    assert "is a study of several runs" in refused(transferkit("verify", "quickstart", cwd=tmp_path))


def test_a_range_in_the_wrong_order_is_refused() -> None:
    text = "{data: digits, backbone: resnet20=none, method: probe, stated_accuracy: [0.9, 0.5]}"

    with pytest.raises(TransferkitError, match=r"stated_accuracy.*the lowest comes first: write \[0.5, 0.9\]"):
        recipes.Recipe.from_yaml(text)


def test_the_stated_range_decides_nothing_else() -> None:
    recipe = digits("probe")

    assert recipe.model_copy(update={"stated_accuracy": (0.1, 0.2)}).short_hash == recipe.short_hash
