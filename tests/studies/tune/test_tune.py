"""Tuning: halving by hand, choices on val alone, what resumes, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import transferkit
from transferkit import run as story
from transferkit.cli.app import app
from transferkit.data import datasets
from transferkit.executors.turns import NO_FILE_SIGNS
from transferkit.recipe import Recipe, TuningRecipe, load, points_of, read_space, tuning_from_options
from transferkit.recipe.budget import Budget
from transferkit.runs.run_directory import Run
from transferkit.runtime import optional_libraries
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.studies.pages import rebuild_pages
from transferkit.studies.tune import costs, searches, trials
from transferkit.studies.tune.halving import Rung, best_first, rungs
from transferkit.studies.tune.results import Trial, Tuning
from transferkit.studies.tune.space import in_words, points
from transferkit.studies.tune.tune import chosen_trial, tune
from transferkit.training import methods
from transferkit.training.methods import finetune_rates

SHORT = {"weights": "none", "limit_per_class": 8, "test_fraction": 0.1, "threads": 1, "batch_size": 32, "epochs": 3}
SPACE = {"lr_factor": (1.0, 3.0), "augment": ("none", "grey")}


def digits(space: dict[str, tuple[Any, ...]] = SPACE, search: str = "grid", **options: Any) -> TuningRecipe:
    return tuning_from_options("resnet-mini", "digits", space, {"search": search}, {**SHORT, **options})


def a_trial(accuracy: float | None, loss: float = 1.0, rung: int = 0, **values: Any) -> Trial:
    return Trial(values, rung, 1, "epochs", 10, 1.0, 64, accuracy=accuracy, loss=loss, failure="" if accuracy else "no")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuning:
    return tune(digits(), tmp_path_factory.mktemp("tunings") / "tuned", console=SILENT, command="as typed")


# ---- halving ----


def test_settings_and_lengths_of_the_rungs() -> None:
    planned = rungs(27, Budget("epochs", 9), eta=3)

    assert [(rung.settings, rung.length.text) for rung in planned] == [(27, "1epochs"), (6, "3epochs"), (2, "9epochs")]
    # 27 x 1/9 + 6 x 1/3 + 2 + 1 full trainings, of 27: 30 % of the steps of the grid
    assert sum(rung.settings * rung.length.amount for rung in planned) + 9 == pytest.approx(0.30 * 27 * 9, rel=0.02)


def test_few_settings_have_no_training_of_full_length_before_the_chosen_one() -> None:
    assert [(rung.settings, rung.length.text) for rung in rungs(17, Budget("epochs", 9), 3)] == [
        (17, "1epochs"),
        (4, "3epochs"),
    ]


def test_trainings_too_short_to_divide_twice_have_one_rung() -> None:
    assert [rung.length.text for rung in rungs(12, Budget("epochs", 3), 3)] == ["1epochs"]
    assert [(rung.settings, rung.length.text) for rung in rungs(27, Budget("epochs", 3), 3)] == [
        (27, "1epochs"),
        (2, "3epochs"),
    ]
    assert [rung.settings for rung in rungs(3, Budget("epochs", 30), 3)] == [3]


def test_a_length_by_the_clock_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"600s is no number of epochs or steps\. Use --epochs 10"):
        rungs(9, Budget("seconds", 600), 3)


def test_the_longest_trainings_decide_by_accuracy_then_loss() -> None:
    few = [a_trial(0.9), a_trial(0.8, 0.7, rung=1, a=1), a_trial(0.8, 0.6, rung=1, a=2), a_trial(None, rung=1)]

    assert chosen_trial(few).values == {"a": 2}


def test_no_trial_with_an_end_is_an_error_that_says_why() -> None:
    with pytest.raises(MachineError, match="No setting finished:\nno"):
        chosen_trial([a_trial(None), a_trial(None)])


def test_failed_trials_come_last() -> None:
    failed, poor, dear = (
        a_trial(accuracy, loss).badness for accuracy, loss in ((None, None), (0.01, 9.0), (0.0, 99.0))
    )

    assert best_first(["failed", "poor", "dear"], [failed, poor, dear]) == ["poor", "dear", "failed"]


def test_the_most_accurate_and_those_of_the_lowest_loss_go_on_by_turns() -> None:
    # at the start's accuracy after one epoch, nearly unmoved; and far from it, but on a better way
    unmoved, hardly, fast, faster = a_trial(0.25, 2.9), a_trial(0.24, 2.8), a_trial(0.16, 2.7), a_trial(0.15, 2.6)
    badness = [trial.badness for trial in (unmoved, hardly, fast, faster)]

    assert best_first(["unmoved", "hardly", "fast", "faster"], badness) == ["unmoved", "faster", "hardly", "fast"]


# ---- space ----


def test_values_on_the_command_line_are_read_as_yaml() -> None:
    assert read_space(["freeze-to=default/layer2", "method.lr=1e-3/0.01"]) == {
        "freeze_to": ("default", "layer2"),
        "lr": (0.001, 0.01),
    }


@pytest.mark.parametrize("text", ["lr_factor", "=1/2", "size="])
def test_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(TransferkitError, match=r"Write KEY=VALUE/VALUE, as in lr_factor=0\.3/1/3"):
        read_space([text])


def test_a_value_that_cannot_be_is_refused_before_any_work() -> None:
    with pytest.raises(TransferkitError, match="lr_facto"):
        digits({"lr_facto": (1.0,)})
    with pytest.raises(TransferkitError, match="Unknown augmentation 'gray'"):
        digits({"augment": ("none", "gray")})


def test_drawn_points_are_of_the_space_and_begin_with_its_first() -> None:
    few = digits().model_copy(update={"points": 3})

    drawn = points(few, SPACE)

    assert drawn == points(few, SPACE)
    assert drawn[0] == {"lr_factor": 1.0, "augment": "none"}
    assert len(drawn) == 3
    assert all(point in list(points_of(SPACE)) for point in drawn)


def test_a_tuning_is_a_file_that_reads_back(tmp_path: Path) -> None:
    (tmp_path / "tuning.yaml").write_text(digits().to_yaml())

    assert load(tmp_path / "tuning.yaml") == digits()


def test_the_factor_multiplies_the_rates_that_the_start_settles() -> None:
    classifier: Any = None
    options: dict[str, Any] = {"optimizer": "sgd", "head": "random"}
    plain, three = (digits(lr_factor=factor, **options).base.method for factor in (1, 3))

    rates = [finetune_rates.settled_rates(method, classifier, "re-estimated") for method in (plain, three)]  # type: ignore[arg-type]

    assert rates[1].lr == pytest.approx(3 * rates[0].lr)
    assert rates[1].head_lr == pytest.approx(3 * rates[0].head_lr)


# ---- the whole ----


def test_a_tuning_tries_all_settings_and_trains_one_with_test_closed_until_then(tuned: Tuning) -> None:
    assert [len([t for t in tuned.trials if t.rung == rung]) for rung in (0, 1)] == [4, 0]  # 3 epochs divide once
    assert tuned.test_openings == 0
    assert tuned.chosen == tuned.trials[0].values
    augment = dict(Run(Path(tuned.result.run)).recipe.method)["augment"]
    assert augment == ({"grey": 0.2} if tuned.chosen["augment"] == "grey" else {})
    assert tuned.steps == 4 * 2 + 3 * 2 * 2  # 70 train images, 32 of a batch: 2 steps; 3 epochs, and 3 with val
    assert tuned.grid_steps == 4 * 3 * 2 + 3 * 2
    assert "val images tell settings apart by chance" in tuned.notes[0]


def test_its_pages_name_every_setting_and_are_built_again(tuned: Tuning) -> None:
    folder = Path(tuned.folder)
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()

    rebuild_pages(folder)

    assert (folder / "report.html").read_text() == page
    assert page.count("lr_factor=3, augment=grey") >= 2  # in the drawing and in the table
    assert "Test was opened 0 times before the choice" in page
    (link,) = re.findall(r'href="([^"]*/report.html)"', page)
    assert (folder / link).is_file()  # of the chosen run
    assert r"lr\_factor=3, augment=grey" in (folder / "report.md").read_text()
    assert Tuning.read(folder) == tuned


def test_finished_trials_are_not_run_again(tuned: Tuning, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tuned.folder)
    (folder / "tuning.json").unlink()
    monkeypatch.setattr(trials, "train_trial", lambda *_: pytest.fail("trained again"))

    again = tune(digits(), folder, console=SILENT, command="as typed")

    assert again == tuned


def test_logs_that_a_killed_command_left_of_trials_go_with_them_also_here(tuned: Tuning, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(tuned.folder, folder)
    (folder / "tuning.json").unlink()
    (folder / "logs").mkdir()
    lengths = [Budget(trial.length_unit, trial.length).amount_in_words for trial in tuned.trials]
    names = [f"{in_words(trial.values)}, {length}" for trial, length in zip(tuned.trials, lengths, strict=True)]
    for name in names:
        (folder / "logs" / f"{NO_FILE_SIGNS.sub('-', name)}.log").write_text("epoch 1 of 1")

    tune(digits(), folder, console=SILENT)

    assert len(names) >= 4
    assert not (folder / "logs").exists()


def test_a_finished_tuning_is_not_replaced_unasked(tuned: Tuning) -> None:
    before = (Path(tuned.folder) / "report.html").stat().st_mtime_ns

    assert tune(digits(), Path(tuned.folder), console=SILENT) == tuned
    assert (Path(tuned.folder) / "report.html").stat().st_mtime_ns == before


def test_a_training_that_diverges_is_a_trial_and_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any) -> Any:
        raise MachineError("The loss is not finite at step 3.\nTry a smaller --lr.")

    monkeypatch.setattr(methods, "fit", diverge)
    tuning = digits()
    splits = datasets.load(tuning.base.data, SILENT)
    work = trials.Workshop(tuning, splits, story.start_machine(tuning.base), tmp_path, SILENT)

    failed = work.trial({"lr_factor": 900.0}, Rung(0, Budget("epochs", 1), 1))

    assert failed.accuracy is None
    assert failed.failure == "The loss is not finite at step 3."


def test_without_val_images_nothing_can_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"there are no val images\. Use --val-fraction 0\.2"):
        tune(digits(val_fraction=0), tmp_path / "tuned", console=SILENT)


def test_optuna_proposes_settings_of_the_space_and_prunes() -> None:
    pytest.importorskip("optuna")
    measured: list[tuple[dict[str, Any], int]] = []

    def measure(settings: Any, rung: Rung) -> list[Trial]:
        (values,) = settings  # each is proposed after the one before
        measured.append((dict(values), rung.number))
        return [replace(a_trial(0.5 + 0.1 * (values["lr_factor"] == 3.0)), values=dict(values), rung=rung.number)]

    planned = rungs(9, Budget("epochs", 9), 3)
    tried = searches.search_by_optuna(digits(search="optuna"), SPACE, planned, measure)

    assert chosen_trial(tried).values["lr_factor"] == 3.0
    assert all(trial.values in list(points_of(SPACE)) for trial in tried)
    assert len([rung for _, rung in measured if rung == 1]) < 9


def test_without_optuna_one_line_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)

    with pytest.raises(TransferkitError, match=r'pip install "transferkit\[tune\]"'):
        optional_libraries.optuna()


def test_a_dry_run_adds_up_the_whole_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(recipes: Sequence[Recipe]) -> list[float]:
        """Ten for each epoch; twice that where the input is larger, or val is learnt from in the end."""
        trainings = [recipe.method for recipe in recipes]
        return [10.0 * (each.epochs or 0) * (1 + (each.size == 16)) * (2 - (each.refit is False)) for each in trainings]

    monkeypatch.setattr(costs.estimates, "fit_seconds", seconds)
    monkeypatch.setattr(costs.estimates, "estimate", lambda _: "Estimate: some time.")
    space, options = {"lr": (1, 2, 3), "size": (8, 16)}, {"weights": "none", "epochs": 9}
    tuning = tuning_from_options("resnet20", "digits", space, {"executor": "slurm", "workers": 2}, options)

    told = costs.of_tuning(tuning)

    # six settings for 1 epoch, 10 s or 20 s: 90 s; two for 3 epochs, 45 s each on average; one for 9 with val: 270 s
    assert told["one setting at full length"] == "Estimate: some time."
    assert told["search"].startswith("6 settings at 1 epoch, 2 settings at 3 epochs, the best at 9 epochs: 39 % of ")
    # on two workers: 20 + 20 + 10 s beside each other 50 s, then 45 s, then 270 s
    assert told["in all"] == "9 runs, about 7.5 min one after the other; on 2 workers of slurm about 6.1 min."


def test_a_dry_run_needs_no_images_and_no_weights_to_know_the_space() -> None:
    typed = ["tune", "resnet20", "--data", "digits", "--weights", "none", "--epochs", "9", "--size", "8"]

    result = CliRunner().invoke(app, [*typed, "--dry-run", "--json"])

    estimates = json.loads(result.stdout)["estimates"]
    assert list(estimates) == ["one setting at full length", "search", "in all"]
    assert estimates["search"].startswith("12 settings at 1 epoch, 3 settings at 3 epochs, the best at 9 epochs: ")
    assert estimates["in all"].startswith("16 runs, about ")


def test_a_dry_run_refuses_what_the_tuning_would() -> None:
    typed = ["tune", "resnet20", "--data", "digits", "--weights", "none", "--budget", "10min", "--dry-run"]

    result = CliRunner().invoke(app, typed)

    assert "tune shortens trainings, and 600s is no number of epochs or steps" in str(result.exception)


def test_python_and_command_line_mean_the_same_tuning() -> None:
    typed = ["tune", "resnet20", "--data", "digits", "--weights", "none", "--epochs", "3", "--try", "lr_factor=1/3"]

    result = CliRunner().invoke(app, [*typed, "--dry-run", "--json"])

    recipe = json.loads(result.stdout)["recipe"]
    options = {"weights": "none", "epochs": 3}
    expected = tuning_from_options("resnet20", "digits", {"lr_factor": (1, 3)}, {}, options)
    assert recipe == json.loads(expected.model_dump_json())
    assert callable(transferkit.tune)
