"""Whether a fit paid: against its own start on val and against one and the same answer on test, and how it is told."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from statsmodels.stats.contingency_tables import mcnemar
from synthetic_runs import FACTS, finished_run, outputs

from transferkit import recipe as recipes
from transferkit import report
from transferkit.api.trained_run import TrainedRun
from transferkit.cli.runs import summary
from transferkit.metrics.evaluation import evaluate
from transferkit.metrics.history import Epoch, History
from transferkit.metrics.outcome import against_commonest, since_start
from transferkit.metrics.outputs import Outputs
from transferkit.report.content import gather
from transferkit.report.headline import sentences_for_others
from transferkit.runs.run_directory import Run
from transferkit.runtime.records import as_json


def judged(epoch: int, right: int, gained: int = 0, lost: int = 0, n: int = 1000, *, is_result: bool = False) -> Epoch:
    counts = {"val_gained": gained, "val_lost": lost} if epoch else {}
    return Epoch(epoch, val_accuracy=right / n, val_loss=1.0, val_images=n, is_result=is_result, **counts)


def history_of(*epochs: Epoch) -> History:
    return History(epochs)


WORSE = history_of(judged(0, 900), judged(1, 950, 60, 10), judged(2, 800, 20, 120, is_result=True))
WITHIN_CHANCE = history_of(judged(0, 900), judged(1, 897, 20, 23, is_result=True))
BETTER = history_of(judged(0, 800), judged(1, 900, 120, 20, is_result=True))


# ---- against the start ----


def test_the_end_is_compared_with_the_start_by_the_images_gained_and_lost() -> None:
    known = since_start(WORSE)

    assert known is not None
    assert (known.start.accuracy, known.end.accuracy, known.best.epoch) == (0.9, 0.8, 1)
    assert (known.is_worse, known.is_shown, known.is_result, known.n) == (True, True, True, 1000)
    # mid-p: the exact test with half the probability of what was seen
    exact = mcnemar([[0, 20], [120, 0]], exact=True).pvalue
    assert 0 < known.p < exact < 1e-10


def test_a_difference_within_chance_is_worse_but_not_shown() -> None:
    known = since_start(WITHIN_CHANCE)

    assert known is not None
    assert (known.is_worse, known.is_shown) == (True, False)


def test_a_kept_start_has_lost_nothing() -> None:
    known = since_start(history_of(judged(0, 900, is_result=True), judged(1, 800, 0, 100)))

    assert known is not None
    assert (known.end.epoch, known.gained, known.lost, known.p, known.is_worse) == (0, 0, 0, 1, False)


def test_a_result_that_learnt_from_val_is_judged_by_the_last_epoch_before() -> None:
    known = since_start(history_of(judged(0, 800), judged(1, 900, 120, 20), Epoch(2, is_result=True)))

    assert known is not None
    assert (known.end.epoch, known.is_result) == (1, False)


@pytest.mark.parametrize("epochs", [(), (judged(0, 900),), WORSE.epochs[1:], (Epoch(0), Epoch(1, loss=1.0))])
def test_without_a_judged_start_nothing_is_compared(epochs: tuple[Epoch, ...]) -> None:
    assert since_start(History(epochs)) is None


# ---- against always giving the same answer ----


def answers(labels: list[int], predictions: list[int], names: tuple[str, ...] = ("cat", "dog")) -> Outputs:
    logits = np.eye(len(names), dtype=np.float32)[predictions]
    ids = tuple(map(str, range(len(labels))))
    return Outputs(np.zeros((len(labels), 1), np.float32), logits, np.asarray(labels, np.int64), ids, names)


def test_the_same_answer_is_compared_on_the_same_images() -> None:
    # 90 cats, 10 dogs: 80 cats and 6 dogs right, so 6 images only the model gets and 10 only the answer "cat"
    test = answers([0] * 90 + [1] * 10, [0] * 80 + [1] * 10 + [1] * 6 + [0] * 4)

    known = against_commonest(test)

    assert known is not None
    assert (known.class_name, known.accuracy, known.only_model, known.only_answer) == ("cat", 0.9, 6, 10)
    assert known.p < mcnemar([[0, 6], [10, 0]], exact=True).pvalue
    assert not known.is_beaten


def test_few_rare_images_suffice_where_nothing_else_is_lost() -> None:
    # 91.5 % against 90 %: the intervals overlap widely, but of 17 images on which they differ the model gets 16
    test = answers([0] * 900 + [1] * 100, [0] * 899 + [1] + [1] * 16 + [0] * 84)

    known = against_commonest(test)

    assert known is not None
    assert known.is_beaten


def test_among_equally_common_classes_the_strongest_rival_counts() -> None:
    constant = answers([0] * 50 + [1] * 50, [1] * 100)

    known = against_commonest(constant)

    assert known is not None
    assert (known.class_name, known.p, known.is_beaten) == ("dog", 1.0, False)


def test_nothing_can_beat_the_only_class_there_is() -> None:
    assert against_commonest(answers([0] * 5, [0] * 5)) is None


# ---- how it is told ----

RATES = {"batchnorm", "lr", "clip_norm"}  # what a run settles when it has chosen its start


def told(folder: Path, history: History, test: Outputs | None = None, **method: Any) -> Run:
    run = finished_run(folder, test)
    run.write_json("facts", FACTS | {"rates": FACTS["rates"] | {key: method[key] for key in RATES & method.keys()}})
    keys = {"name": "finetune", "size": 64, "lr": 0.03, "epochs": 4, **method}
    run.write_recipe(recipes.parse({"data": "cifar10", "backbone": {"name": "resnet18"}, "method": keys}))
    test = run.outputs("test")
    run.write_evaluation(evaluate(test, test, history))
    report.write(Run(folder))
    return Run(folder)


def on_screen(run: Run, width: int) -> list[str]:
    """The lines of a verdict on a terminal of so many columns."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(report.verdict(run))
    return console.export_text().splitlines()


def first_sentences(run: Run) -> list[str]:
    """Of the screen, the page, the Markdown and the JSON, without their markup."""
    assert len(on_screen(run, width=80)) <= 50
    first = on_screen(run, width=1_000)[0].replace(str(run.path), run.path.name)  # the page is moved with its run
    page = html.unescape((run.path / "report.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")
    heading = re.sub("<[^>]+>", "", re.split("</?h1[^>]*>", page)[1])
    markdown = (run.path / "report.md").read_text().splitlines()[0].removeprefix("# ").replace("\\", "")
    verdict = json.loads(json.dumps(summary(run)))["verdict"]
    assert first.startswith(heading)
    return [heading, markdown, verdict.replace(str(run.path), run.path.name)]


def test_a_fine_tuning_worse_than_its_start_says_so_first_with_what_to_try(tmp_path: Path) -> None:
    sentences = first_sentences(told(tmp_path / "run", WORSE))

    assert (
        sentences
        == [
            "Fine-tuning made resnet18 worse: of 1,000 val images, 90.0 % were right at its start and 80.0 % at the "
            "end; try --keep best (95.0 %, epoch 1), --lr 0.01 --batchnorm eval --clip-norm 1 or "
            "transferkit probe, which is its start."
        ]
        * 3
    )


def test_others_read_the_result_first_and_no_advice(tmp_path: Path) -> None:
    run = told(tmp_path / "run", WORSE)

    # Wilson: 28 of 40
    result = "Fine-tuned resnet18 gets 70.0 % of 40 test images right (95 % interval: 54.6 to 81.9)."
    assert report.result_sentence(run) == result
    assert repr(TrainedRun(run)).splitlines()[0] == result
    assert sentences_for_others(gather(run))[:2] == [
        result,
        "Fine-tuning made resnet18 worse: of 1,000 val images, 90.0 % were right at its start and 80.0 % at the end.",
    ]


def test_others_read_that_a_model_is_no_better_than_guessing(tmp_path: Path) -> None:
    run = told(tmp_path / "run", BETTER, answers([0] * 9 + [1] * 6, [0] * 15))

    sentences = sentences_for_others(gather(run))

    assert sentences[0].startswith("Fine-tuned resnet18 gets 60.0 % of 15 test images right (95 % interval: ")
    assert sentences[1] == "It is not shown to be better than always answering “cat” (60.0 %)."
    assert "try" not in " ".join(sentences)


def test_an_option_stays_in_one_piece_on_a_narrow_page(tmp_path: Path) -> None:
    run = told(tmp_path / "run", WORSE)

    assert '<span class="option">--batchnorm</span> eval' in (run.path / "report.html").read_text()


def test_worse_by_chance_is_told_as_such(tmp_path: Path) -> None:
    sentences = first_sentences(told(tmp_path / "run", WITHIN_CHANCE, batchnorm="eval", head="random"))

    assert (
        sentences
        == [
            "Fine-tuning did not help resnet18: of 1,000 val images, 90.0 % were right at its start and 89.7 % at the "
            "end (within chance); try --keep best (90.0 %, its start) or --lr 0.01 --clip-norm 1."
        ]
        * 3
    )


def test_a_kept_start_is_told_first(tmp_path: Path) -> None:
    history = history_of(judged(0, 900, is_result=True), judged(1, 800, 0, 100))

    sentences = first_sentences(told(tmp_path / "run", history, keep="best"))

    assert sentences[0].startswith(
        "Fine-tuning did not help resnet18, so its start was kept: no epoch got more than 90.0 % of 1,000 val images "
        "right; try --lr 0.01"
    )


def test_training_that_paid_leaves_the_result_first_and_tells_the_way(tmp_path: Path) -> None:
    run = told(tmp_path / "run", BETTER)

    assert first_sentences(run)[0] == "Fine-tuned resnet18 gets 70.0 % of 40 test images right."
    assert "Of 1,000 val images, 80.0 % were right at its start and 90.0 % at the end." in (
        run.path / "report.md"
    ).read_text().replace("\\", "")


def test_uneven_test_classes_have_their_balanced_accuracy_in_the_verdict(tmp_path: Path) -> None:
    # 152 of 160 cats and 20 of 40 dogs right: 86.0 % of the images, 72.5 % of a class
    test = answers([0] * 160 + [1] * 40, [0] * 152 + [1] * 8 + [1] * 20 + [0] * 20)

    run = told(tmp_path / "run", BETTER, test)

    assert first_sentences(run)[0] == (
        "Fine-tuned resnet18 gets 86.0 % of 200 test images right, and 72.5 % of a class on average "
        "(balanced accuracy)."
    )
    # Wilson: 152 of 160 from 90.4 to 97.4, 20 of 40 from 35.2 to 64.8; half the root of the summed squares: 7.7 and 7.5
    assert "The classes are uneven: balanced accuracy, in which each counts the same, is 72.5 % (64.8 to 80.0 %)." in (
        run.path / "report.md"
    ).read_text().replace("\\", "")


@pytest.mark.parametrize(("dogs", "is_told"), [(40, False), (39, True)])
def test_classes_are_uneven_above_one_and_a_half_times_the_smallest(tmp_path: Path, dogs: int, is_told: bool) -> None:
    test = answers([0] * 60 + [1] * dogs, [0] * 60 + [1] * dogs)

    sentence = first_sentences(told(tmp_path / "run", BETTER, test))[0]

    assert ("balanced accuracy" in sentence) == is_told


def test_a_chosen_epoch_is_told_with_what_choosing_does_to_its_accuracy(tmp_path: Path) -> None:
    run = told(tmp_path / "run", BETTER, keep="best")

    assert (
        "Of 1,000 val images, 80.0 % were right at its start and 90.0 % at the end (epoch 1, chosen on these "
        "images, so slightly optimistic)." in (run.path / "report.md").read_text().replace("\\", "")
    )


def test_no_better_than_the_commonest_class_is_told_first(tmp_path: Path) -> None:
    guessing = answers([0] * 9 + [1] * 6, [0] * 15)

    sentences = first_sentences(told(tmp_path / "run", BETTER, guessing))

    assert (
        sentences
        == [
            "Fine-tuned resnet18 gets 60.0 % of 15 test images right, not shown to be better than always answering "
            "“cat” (60.0 %): try --epochs 12 or a look at the labels (transferkit labels run)."
        ]
        * 3
    )


def test_better_than_the_commonest_class_by_chance_asks_for_more_images(tmp_path: Path) -> None:
    test = answers([0] * 6 + [1] * 4, [0] * 6 + [1] + [0] * 3)

    sentence = first_sentences(told(tmp_path / "run", BETTER, test))[0]

    assert "70.0 % of 10 test images right, not shown to be better than always answering “cat” (60.0 %)" in sentence
    assert "try more test images, which may show it, --epochs 12 or a look at the labels" in sentence


def test_a_run_of_an_earlier_version_is_told_as_before(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs())
    evaluation = as_json(run.evaluation)
    del evaluation["since_start"], evaluation["test"]["commonest"]
    run.write_json("evaluation", evaluation)
    report.write(run)

    assert (run.path / "report.md").read_text().startswith("# Fine-tuned resnet18 gets 70.0 % of 40 test images right.")
