"""Studies: what a command means, what an arm's failure and a kill leave behind, and label curves."""

from __future__ import annotations

import html
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arms import finished
from rich.console import Console as RichConsole
from synthetic_runs import FACTS
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.recipe import Recipe, Study, from_options, parse_study, parse_yaml
from transferkit.run import run as real_run
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.studies.compare import study
from transferkit.studies.compare.options import Arms, StudySettings, label_counts, study_of
from transferkit.studies.compare.report import comparison_verdict
from transferkit.studies.compare.results import Comparison, LabelCurve, read_comparison
from transferkit.studies.compare.study import budget_in_words, compare_runs, run_study
from transferkit.training.estimates import timing

GOOD = {"scratch": 120, "probe": 160, "finetune": 180}  # of 200 images right


def wanted(command: str = "compare", **settings: Any) -> Study:
    """Three arms of a small network on digits."""
    arms = Arms(
        ["resnet20=none"], ["scratch", "probe", "finetune"], scratch_budget=settings.pop("scratch_budget", None)
    )
    options = {"limit_per_class": 20} if command == "compare" else {}
    return study_of(command, arms, "digits", options, StudySettings(**{"seeds": 2, "budget": "30steps", **settings}))


class Engine:
    """Stands for `run`: leaves a finished run at once, counts its calls, and fails or stops where it is told to."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.faults: dict[str, BaseException] = {}
        self.facts: dict[str, Any] = {}

    def __call__(self, recipe: Recipe, out: Path, **_: Any) -> Run:
        if recipe.name in self.faults:
            raise self.faults[recipe.name]
        self.made.append(recipe.name)
        labels = recipe.data.limit_per_class or 100
        count = GOOD[recipe.method.name] - 300 // labels
        order = np.random.default_rng(recipe.seed).permutation(200)
        data = {**FACTS["data"], "n": {"train": 2 * labels - 2, "val": 2, "test": 200}}
        return finished(out, recipe, (order < count).astype(int).tolist(), **{"data": data, **self.facts})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(study, "run", made)
    return made


# ---- what a command means ----


def test_arms_are_methods_and_scratch_gets_no_weights() -> None:
    arms = wanted(scratch_budget="30epochs").arms

    assert arms == {
        "scratch": {"backbone": {"name": "resnet20"}, "method": {"name": "scratch"}},
        "scratch-30epochs": {"backbone": {"name": "resnet20"}, "method": {"name": "scratch", "budget": "30epochs"}},
        "probe": {"backbone": {"name": "resnet20", "weights": "none"}, "method": {"name": "probe"}},
        "finetune": {"backbone": {"name": "resnet20", "weights": "none"}, "method": {"name": "finetune"}},
    }


def test_arms_of_several_backbones_carry_their_names() -> None:
    arms = {
        name: vars(arm)
        for name, arm in Arms(["resnet18", "timm/resnet18.a1_in1k"], ["scratch", "probe"]).by_name().items()
    }

    assert list(arms) == [
        "resnet18-scratch",
        "resnet18-probe",
        "timm-resnet18.a1_in1k-scratch",
        "timm-resnet18.a1_in1k-probe",
    ]


def test_one_backbone_with_two_weights_is_trained_from_scratch_once() -> None:
    arms = {
        name: vars(arm) for name, arm in Arms(["resnet18", "resnet18=none"], ["scratch", "probe"]).by_name().items()
    }

    assert list(arms) == ["resnet18-scratch", "resnet18-probe", "resnet18-probe-none"]


def test_the_budget_reaches_the_arms_that_train_and_have_none_of_their_own() -> None:
    recipes = {name: recipe for name, seed, recipe in wanted(scratch_budget="30epochs").recipes() if seed == 0}

    budgets = {name: getattr(recipe.method, "budget", "no key") for name, recipe in recipes.items()}
    assert budgets == {"scratch": "30steps", "scratch-30epochs": "30epochs", "probe": "no key", "finetune": "30steps"}


def test_what_the_budget_means_is_said_and_who_is_outside_it() -> None:
    assert budget_in_words(wanted(scratch_budget="30epochs")) == (
        "Budget 30steps: every training takes 30 gradient steps. A probe has no steps to count: it takes one feature "
        "pass and a convex fit, whatever the budget. Not bound by it, as asked: scratch-30epochs."
    )


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ("3epochs", "sees the training images 3 times"),
        ("10min", "gradient steps go on for 10 min on this machine, and the learning rate follows the clock"),
        ("1e15flops", "1e+15 operations, counted as 3 x forward operations x images"),
        ("converged", "the default length of its method, so the arms do not cost the same"),
    ],
)
def test_every_kind_of_budget_is_explained(budget: str, says: str) -> None:
    assert says in budget_in_words(wanted(budget=budget))


def test_every_arm_gets_the_same_images_in_a_comparison() -> None:
    seen = {json.dumps(recipe.data.model_dump(mode="json")) for _, _, recipe in wanted().recipes()}

    assert len(seen) == 1


def invoked(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    message = str(result.exception) if isinstance(result.exception, TransferkitError) else ""
    return result.exit_code, result.stdout, message


def test_dry_run_prints_a_study_that_reads_back_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in ("forward_seconds", "step_seconds"):  # how long it would take is another promise
        monkeypatch.setattr(timing, seconds, lambda *_: 0.001)

    code, printed, _ = invoked("compare", "resnet18", "vgg11_bn", "--budget", "3epochs", "--size", "64", "--dry-run")

    read = parse_study(parse_yaml(printed, "printed"), "printed")
    assert code == 0
    assert (read.budget, len(read.arms), read.common["method"]) == ("3epochs", 6, {"size": 64})
    assert read.reference == "resnet18-scratch"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["compare", "resnet18", "--methods", "prob"],
            "Unknown method 'prob'. Did you mean 'probe'? Available: finetune, p",
        ),
        (["compare", "resnet18", "--methods", "probe"], "transferkit compare: one arm alone cannot be compared."),
        (["compare", "resnet18", "--budget", "0epochs"], "compare: budget: The budget '0epochs' trains nothing."),
        (
            ["compare", "resnet18", "--budget", "soon"],
            "compare: budget: Cannot read the budget 'soon'. Expected a number",
        ),
        (
            ["compare", "resnet18", "--seeds", "1", "--over", "seeds"],
            "transferkit compare: an interval over seeds needs at least two seeds of every arm; this study has one. "
            "Use --seeds 3, or --over images.",
        ),
        (["compare", "resnet18", "--reference", "probes"], "reference 'probes' is no arm. Did you mean 'probe'?"),
        (
            ["compare", "resnet18", "resnet18"],
            "resnet18-probe is there twice. To compare one backbone with several weig",
        ),
        (["compare", "resnet8", "--methods", "probe,finetune"], "Unknown backbone 'resnet8'. Did you mean 'resnet18'?"),
        (["compare", "resnet18", "runs/a"], "resnet18 is no folder, and runs/a is one. Give folders of runs alone, or"),
        (["compare", "runs/a", "runs/b", "--seeds", "3"], "--seeds has no effect on finished runs. Leave it out."),
        (["compare", "runs/a", "runs/b"], "runs/a is no run: there is no such folder."),
        (
            ["curve", "resnet18", "--labels", "5,x"],
            "Cannot read the number of labels 'x'. Expected whole numbers above",
        ),
        (
            ["curve", "resnet18", "--labels", "5,5"],
            "transferkit curve: the number 5 of labels per class is there twice.",
        ),
        (
            ["curve", "resnet18", "--budget", "3epochs"],
            "transferkit curve, arm scratch-5: a label curve needs the same number of gradient steps at every number "
            "of labels, and an epoch has more where there are more labels. Use --budget 500steps, 10min or 1e15flops.",
        ),
        (
            ["curve", "resnet18", "--limit-per-class", "9"],
            "--labels says how many labels are used, and each seed draws",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(arguments: list[str], says: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "study")]

    code, _, message = invoked(*arguments, *out)

    assert code == 1  # main() turns the error into exit code 2
    assert says in message
    assert not (tmp_path / "study").exists()


# ---- failures, kills, and starting again ----


def without_place(comparison: Comparison | LabelCurve) -> Comparison | LabelCurve:
    """A comparison apart from where its runs are."""
    assert isinstance(comparison, Comparison)
    arms = tuple(replace(row, runs=tuple(Path(run).name for run in row.runs)) for row in comparison.arms)
    return replace(comparison, arms=arms, folder="")


def test_a_killed_comparison_goes_on_to_the_table_of_an_uninterrupted_one(tmp_path: Path, engine: Engine) -> None:
    whole = run_study(wanted(), tmp_path / "whole", console=SILENT)
    engine.made.clear()
    engine.faults["probe-seed1"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_study(wanted(), tmp_path / "killed", console=SILENT)
    engine.faults.clear()
    resumed = run_study(wanted(), tmp_path / "killed", console=SILENT)

    assert without_place(resumed) == without_place(whole)
    assert sorted(engine.made) == sorted(f"{arm}-seed{seed}" for arm in GOOD for seed in (0, 1))  # none of them twice


def test_arms_that_cannot_run_are_all_named_before_the_first_begins(tmp_path: Path, engine: Engine) -> None:
    arms = Arms(["resnet-mini=none", "alexnet=none"], ["scratch", "probe"])
    study = study_of("compare", arms, "digits", {"size": 32}, StudySettings(budget="1epochs"))

    with pytest.raises(
        TransferkitError,
        match=r"^alexnet-scratch, alexnet-probe: alexnet cannot take images of 32 px.*\nNothing was begun\.$",
    ):
        run_study(study, tmp_path / "study", console=SILENT)
    assert engine.made == []
    assert not (tmp_path / "study").exists()


def test_a_failed_arm_is_reported_and_the_others_go_on(tmp_path: Path, engine: Engine) -> None:
    engine.faults = {"finetune-seed0": TransferkitError("too little memory"), "finetune-seed1": ValueError("bad luck")}

    found = run_study(wanted(), tmp_path / "study", console=SILENT)

    assert [row.name for row in found.arms] == ["scratch", "probe"]
    assert found.failures == ("finetune, seed 0: too little memory", "finetune, seed 1: ValueError: bad luck")
    assert "too little memory" in (tmp_path / "study" / "report.md").read_text()


def test_a_command_of_which_a_run_failed_shows_the_rest_and_ends_with_1(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.training.estimates.before_study", lambda *_: None)
    engine.faults["probe-seed1"] = TransferkitError("too little memory")
    options = ["--methods", "scratch,probe", "--seeds", "2", "--data", "digits", "--budget", "30steps"]
    command = ["compare", "resnet20=none", *options, "--out", str(tmp_path / "study")]

    first = CliRunner().invoke(app, command)
    engine.faults.clear()
    second = CliRunner().invoke(app, command)

    assert "failed: probe, seed 1: too little memory" in first.output
    assert isinstance(first.exception, MachineError)
    assert str(first.exception) == (
        "Not all runs came to an end; those that failed are named above. The same command tries them again, and does "
        "nothing else twice."
    )
    assert second.exit_code == 0


def test_only_the_failed_arm_is_tried_again(tmp_path: Path, engine: Engine) -> None:
    engine.faults["finetune-seed1"] = TransferkitError("too little memory")
    run_study(wanted(), tmp_path / "study", console=SILENT)
    engine.faults.clear()
    engine.made.clear()

    found = run_study(wanted(), tmp_path / "study", console=SILENT)

    assert (engine.made, found.failures) == (["finetune-seed1"], ())


def test_a_finished_study_is_not_run_again_unasked(tmp_path: Path, engine: Engine) -> None:
    first = run_study(wanted(), tmp_path / "study", console=SILENT)
    before = (tmp_path / "study" / "report.html").stat().st_mtime_ns
    engine.made.clear()

    assert run_study(wanted(), tmp_path / "study", console=SILENT) == first
    assert (engine.made, (tmp_path / "study" / "report.html").stat().st_mtime_ns) == ([], before)
    run_study(wanted(), tmp_path / "study", overwrite=True, console=SILENT)
    assert len(engine.made) == 6


@pytest.mark.usefixtures("engine")
def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)

    with pytest.raises(
        TransferkitError, match=r"holds another study, with seeds=2 and not 1. Choose another folder with --out, or rep"
    ):
        run_study(wanted(seeds=1), tmp_path / "study", console=SILENT)


def test_runs_of_an_overwritten_study_are_not_taken_for_the_new_ones(tmp_path: Path, engine: Engine) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)
    engine.faults["scratch-seed0"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_study(wanted(budget="60steps"), tmp_path / "study", overwrite=True, console=SILENT)
    engine.faults.clear()
    engine.made.clear()

    run_study(wanted(budget="60steps"), tmp_path / "study", console=SILENT)

    assert len(engine.made) == 6


def test_where_the_reference_fails_another_takes_its_place_aloud(tmp_path: Path, engine: Engine) -> None:
    engine.faults = {f"scratch-seed{seed}": TransferkitError("no") for seed in (0, 1)}

    found = run_study(wanted(), tmp_path / "study", console=SILENT)

    assert found.reference == "probe"
    assert found.failures[-1] == "The reference scratch did not finish; probe takes its place."


def test_one_arm_left_is_too_few(tmp_path: Path, engine: Engine) -> None:
    names = ("scratch", "probe")
    engine.faults = {f"{name}-seed{seed}": TransferkitError("no") for name in names for seed in (0, 1)}

    with pytest.raises(
        MachineError,
        match=r"^Too few arms finished to compare .+:\nscratch, seed 0: no\n(.+\n)+The same command tries them again",
    ):
        run_study(wanted(), tmp_path / "study", console=SILENT)


def test_images_that_changed_between_the_runs_are_noticed(tmp_path: Path, engine: Engine) -> None:
    engine.faults["finetune-seed0"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_study(wanted(), tmp_path / "study", console=SILENT)
    engine.faults.clear()
    changed = {**FACTS["data"]["fingerprint"], "test": "ee" * 32}
    engine.facts = {"data": {**FACTS["data"], "fingerprint": changed}}

    with pytest.raises(TransferkitError, match=r"were not made on the same images: their test parts differ"):
        run_study(wanted(), tmp_path / "study", console=SILENT)


@pytest.mark.slow
def test_a_real_comparison_that_was_killed_equals_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = wanted(budget="12steps")
    whole = run_study(small, tmp_path / "whole", console=SILENT)
    run, calls = study.run, []

    def run_then_stop(*arguments: Any, **named: Any) -> Run:
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(*arguments, **named)

    monkeypatch.setattr(study, "run", run_then_stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(small, tmp_path / "killed", console=SILENT)
    resumed = run_study(small, tmp_path / "killed", console=SILENT)

    measured = ("fit_seconds", "predicted_images_per_second", "peak_memory_bytes", "history")
    tables = [
        [{key: value for key, value in vars(row).items() if key not in measured} for row in without_place(one).arms]
        for one in (whole, resumed)
    ]
    assert tables[0] == tables[1]
    assert whole.pairs == resumed.pairs


def test_python_compares_as_the_command_does(tmp_path: Path, engine: Engine) -> None:
    found = transferkit.compare(
        ["resnet20"],
        ["scratch", "probe"],
        data="digits",
        weights="none",
        budget="30steps",
        seeds=1,
        limit_per_class=20,
        out=tmp_path / "study",
        quiet=True,
    )

    assert engine.made == ["scratch-seed0", "probe-seed0"]
    assert (found.over, found.leaders) == ("images", ("probe",))
    assert [row.length for row in found.arms] == ["30 steps", "solved"]


@pytest.mark.slow
def test_three_methods_with_three_seeds_cost_one_feature_pass_for_each_statistics(tmp_path: Path) -> None:
    options = {"weights": "none", "limit_per_class": 20, "epochs": 1}
    letters = real_run(from_options("scratch", "resnet20", "digits", options, ()), tmp_path / "w", console=SILENT)
    arms = Arms([f"resnet20={letters.path}"], ["scratch", "probe", "finetune"])
    nine = study_of("compare", arms, "digits", {"limit_per_class": 20}, StudySettings(3, "2steps"))
    said = io.StringIO()

    run_study(nine, tmp_path / "study", console=Console(stream=said, verbose=True))

    # three probes and three fine-tunings need the features of 180 training images with pretrained statistics: the first
    # computes them, five find them; three fine-tunings with re-estimated ones: the first computes them, two find them
    assert said.getvalue().count("features of train: 180/180 img in") == 2
    assert said.getvalue().count("features of train: 180 of 180 img from the feature store, without a pass") == 5 + 2


# ---- finished runs ----


def test_finished_runs_are_compared_without_running_anything(tmp_path: Path, engine: Engine) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)
    engine.made.clear()
    paths = sorted((tmp_path / "study" / "runs").iterdir())

    found = compare_runs(paths, tmp_path / "out", reference="probe-resnet20")

    assert engine.made == []
    assert {row.name: row.seeds for row in found.arms} == {
        "probe-resnet20": 2,
        "finetune-resnet20": 2,
        "scratch-resnet20": 2,
    }
    assert found.leaders == ("finetune-resnet20",)


@pytest.mark.usefixtures("engine")
def test_a_comparison_of_finished_runs_that_is_asked_for_again_stays_as_it_is(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)
    paths = sorted((tmp_path / "study" / "runs").iterdir())
    first = compare_runs(paths, tmp_path / "out", console=SILENT)
    before = (tmp_path / "out" / "report.html").stat().st_mtime_ns

    assert compare_runs(paths, tmp_path / "out", console=SILENT) == first
    assert (tmp_path / "out" / "report.html").stat().st_mtime_ns == before
    with pytest.raises(TransferkitError, match="holds another comparison, with over=None and not images"):
        compare_runs(paths, tmp_path / "out", over="images", console=SILENT)


@pytest.mark.usefixtures("engine")
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)

    with pytest.raises(TransferkitError, match=r"holds a study and is no comparison. Choose another folder"):
        compare_runs(sorted((tmp_path / "study" / "runs").iterdir()), tmp_path / "study", overwrite=True)


# ---- label curves ----


def test_label_counts_are_read_and_refused_with_what_was_expected() -> None:
    assert label_counts("5, 50,all") == [5, 50, "all"]
    with pytest.raises(
        TransferkitError, match=r"Cannot read the number of labels '0'. Expected whole numbers above zero"
    ):
        label_counts("0")


def test_each_seed_of_a_curve_draws_its_own_labels_and_the_arms_share_them() -> None:
    recipes = list(wanted("curve", labels=[5, "all"]).recipes())

    drawn = {(name, seed): (recipe.data.limit_per_class, recipe.data.subset_seed) for name, seed, recipe in recipes}
    assert drawn["probe-5", 1] == drawn["finetune-5", 1] == (5, 1)
    assert drawn["probe-all", 0] == (None, 0)
    assert len({recipe.data.split_seed for _, _, recipe in recipes}) == 1  # the test images stay


@pytest.mark.usefixtures("engine")
def test_a_curve_compares_the_arms_at_each_number_of_labels(tmp_path: Path) -> None:
    found = run_study(wanted("curve", labels=[5, "all"]), tmp_path / "study", console=SILENT)

    # 300 // 5 = 60 and 300 // 100 = 3 of the 200 images are lost
    means = {(point.labels, row.name): row.mean for point in found.points for row in point.comparison.arms}
    assert means == {
        (5, "scratch"): 0.3,
        (5, "probe"): 0.5,
        (5, "finetune"): 0.6,
        ("all", "scratch"): 0.585,
        ("all", "probe"): 0.785,
        ("all", "finetune"): 0.885,
    }
    assert found.verdict.startswith("5 labels per class: finetune leads, +10.0 points (")


@pytest.mark.usefixtures("engine")
def test_a_curve_of_one_method_needs_no_other(tmp_path: Path) -> None:
    one = study_of("curve", Arms(["resnet20=none"], ["probe"]), "digits", {}, StudySettings(2, labels=[5, 10]))

    found = run_study(one, tmp_path / "study", console=SILENT)

    assert found.verdict.startswith("5 labels per class: probe 50.0 %; 10 labels per class: probe 65.0 %")


def test_a_number_of_labels_where_all_failed_is_left_out(tmp_path: Path, engine: Engine) -> None:
    engine.faults = {f"{arm}-5-seed{seed}": TransferkitError("no") for arm in GOOD for seed in (0, 1)}

    found = run_study(wanted("curve", labels=[5, "all"]), tmp_path / "study", console=SILENT)

    assert [point.labels for point in found.points] == ["all"]
    assert len(found.failures) == 6


# ---- how it is shown ----


def shown(comparison: Comparison | LabelCurve) -> str:
    console = RichConsole(file=io.StringIO(), width=80)
    console.print(comparison_verdict(comparison))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("command", ["compare", "curve"])
@pytest.mark.usefixtures("engine")
def test_the_terminal_shows_verdict_table_and_budget_in_80_columns(tmp_path: Path, command: str) -> None:
    labels = {"labels": [5, "all"]} if command == "curve" else {}
    found = run_study(wanted(command, **labels), tmp_path / "study", console=SILENT)

    printed = shown(found)

    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "…" not in printed.split("Report:")[0]
    for words in ("finetune", "+30.0", "< 0.001", "Budget 30steps", "would another"):
        assert words in printed


@pytest.mark.usefixtures("engine")
def test_markdown_and_page_hold_every_column(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT, command="transferkit compare resnet20")

    markdown = (tmp_path / "study" / "report.md").read_text()
    page = html.unescape((tmp_path / "study" / "report.html").read_text())

    # scratch is right on 105 and fine-tuning on 165 of 200 images, other ones with each seed, so the means over seeds
    # differ by 0, 1/2 and 1 on 104, 72 and 24 images: variance 0.12, and 1.96 * sqrt(0.13 / (200 - 1.96^2)) = 0.050
    assert "| finetune | 30 steps | 2 | 82.5 ± 0.0 | 78.1 to 86.2 | +30.0 (+25.0 to +35.0) | &lt; 0.001 |" in markdown
    assert "| 5.1k | 0.002 | 5.4 | 62 s | 1,234 | 0.9 GB |" in markdown
    for words in ("Accuracy and cost", "Learning", "Class by class", "same mistakes", "transferkit compare resnet20"):
        assert words in page
    assert page.count("<svg") > 8


@pytest.mark.usefixtures("engine")
def test_the_page_is_built_again_by_report(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)
    (tmp_path / "study" / "report.html").unlink()

    code, _, _ = invoked("report", str(tmp_path / "study"))

    assert code == 0
    assert (tmp_path / "study" / "report.html").exists()


@pytest.mark.usefixtures("engine")
def test_a_comparison_of_an_earlier_version_is_refused_with_what_to_type(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)
    place = tmp_path / "study" / "comparison.json"
    place.write_text(place.read_text().replace('"schema": 3', '"schema": 2', 1))

    _, _, err = invoked("report", str(tmp_path / "study"))

    assert "was written by an earlier version of transferkit (schema 2, here 3)" in " ".join(err.split())
    assert "transferkit compare RUN RUN ... --out NEW-FOLDER" in " ".join(err.split())


@pytest.mark.usefixtures("engine")
def test_the_curve_is_drawn_for_a_paper(tmp_path: Path) -> None:
    run_study(wanted("curve", labels=[5, 20, "all"]), tmp_path / "study", console=SILENT)

    invoked("report", str(tmp_path / "study"), "--figure", "curve", "--out", str(tmp_path / "curve.svg"))

    drawn = (tmp_path / "curve.svg").read_text()
    assert all(f">{word}<" in drawn for word in ("labels per class", "finetune", "5", "20", "all"))


@pytest.mark.usefixtures("engine")
def test_a_comparison_without_labels_has_no_curve(tmp_path: Path) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)

    _, _, message = invoked("report", str(tmp_path / "study"), "--figure", "curve", "--out", str(tmp_path / "c.pdf"))

    assert message == (
        "There is no figure 'curve' here: a comparison has cost, training, operations; "
        "a run has confusion, recall and training."
    )


# ---- whose files ----


@pytest.mark.slow
def test_overwriting_a_real_finished_study_removes_its_runs_and_makes_them_anew(tmp_path: Path) -> None:
    arms = Arms(["resnet-mini=none"], ["scratch", "probe", "finetune"])
    few = {"limit_per_class": 4, "test_fraction": 0.05}
    small = study_of("compare", arms, "digits", few, StudySettings(budget="2steps", seeds=1))
    folder = tmp_path / "study"
    run_study(small, folder, console=SILENT)
    started = [(path, path.stat().st_mtime_ns) for path in sorted(folder.glob("runs/*/evaluation.json"))]
    (folder / "notes.txt").write_text("mine")
    (folder / "runs" / "unrelated").mkdir()
    (folder / "runs" / "unrelated" / "recipe.yaml").write_text("mine")

    run_study(small, folder, overwrite=True, console=SILENT)

    assert len(started) == 3
    assert all(path.stat().st_mtime_ns > before for path, before in started)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "runs" / "unrelated" / "recipe.yaml").read_text() == "mine"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_study_beside_a_study_file_of_ones_own_is_refused(tmp_path: Path, overwrite: bool) -> None:
    mine = {"study.yaml": "arms: {}", "report.md": "# mine"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(TransferkitError, match="holds other files and is no study"):
        run_study(wanted(), tmp_path, overwrite=overwrite, console=SILENT)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == mine


def test_a_study_that_was_killed_before_its_page_goes_on(tmp_path: Path, engine: Engine) -> None:
    run_study(wanted(), tmp_path / "study", console=SILENT)
    (tmp_path / "study" / "report.html").unlink()
    engine.made.clear()

    run_study(wanted(), tmp_path / "study", console=SILENT)

    assert engine.made == []
    assert (tmp_path / "study" / "report.html").exists()


@pytest.mark.parametrize("command", ["compare", "curve"])
@pytest.mark.usefixtures("engine")
def test_what_is_returned_is_what_the_file_holds_and_says_its_verdict(tmp_path: Path, command: str) -> None:
    labels = {"labels": [5, "all"]} if command == "curve" else {}

    comparison = run_study(wanted(command, **labels), tmp_path, console=SILENT)

    assert read_comparison(tmp_path) == comparison
    assert repr(comparison).endswith(f": {comparison.verdict}\nReport: {tmp_path}/report.html")
    assert comparison._repr_html_().startswith("<iframe srcdoc=")
