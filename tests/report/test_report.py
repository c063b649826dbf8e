"""The report of a run: what it says, what it never lets through, and what it says of things that are not there."""

from __future__ import annotations

import csv
import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import page_of, study, terminal_lines
from rich.console import Console
from small_outputs import two_class
from synthetic_runs import FACTS, finished_run, outputs, with_layers

from transferkit import report
from transferkit.metrics.calibration import ece
from transferkit.metrics.evaluation import evaluate
from transferkit.metrics.history import History
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.temperature import fit_temperature, with_temperature
from transferkit.models.stored_model import WeightsRecord
from transferkit.recipe import parse
from transferkit.report import inline_images, svg_confusion_matrix, svg_lines
from transferkit.report.confidence_words import verdict, verdict_sentence
from transferkit.report.headline import class_sentences
from transferkit.report.matplotlib_figures import FIGURES, figure
from transferkit.report.published import CIFAR10, Published, published
from transferkit.report.svg_confusion_matrix import similarity_order
from transferkit.runs import result_folders
from transferkit.runs.result_folders import STUDY
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.compare.report import comparison_verdict, write_pages

HOSTILE = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "\"quoted\" & 'both'", "a|b\n`c` *d*")
ANY_SCRIPT = ("قطة", "日本語の猫", "кошка", "🐈‍⬛", "x" * 200)


def embedded(page: str) -> Any:
    """The data the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found.group(1))


# ---- what it says ----


def test_headline_gives_accuracy_n_and_interval(tmp_path: Path) -> None:
    page = html.unescape(page_of(finished_run(tmp_path / "run"))).replace("\N{NO-BREAK SPACE}", " ")

    assert "Fine-tuned resnet18 gets 70.0 % of 40 test images right." in page
    assert "The 95 % interval goes from 54.6 to 81.9 %." in page
    assert "Always answering the commonest class would give 25.0 %." in page


def test_commands_of_the_page_name_the_folder_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = finished_run(Path("runs/pets"))
    report.write(run)

    page = html.unescape((run.path / "report.html").read_text(encoding="utf-8"))
    assert "transferkit limits runs/pets" in page
    assert str(tmp_path) not in page


def test_once_limits_has_run_the_report_links_its_page_and_advises_it_no_more(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    before, advice = page_of(run), "transferkit limits"
    (run.path / "limits").mkdir()
    (run.path / "limits" / "limits.html").write_text("its limits")

    after, shown = page_of(run), "\n".join(terminal_lines(run))

    assert advice in before
    assert "limits/limits.html" not in before
    assert '<a href="limits/limits.html">limits/limits.html</a>' in after
    assert "[limits/limits.html](limits/limits.html)" in (run.path / "report.md").read_text()
    assert "- Read where not to trust it: what its limits report found." in shown
    assert advice not in after + shown


def test_a_page_made_from_elsewhere_holds_no_path_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path / "there" / "pets")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    report.write(run)

    page = html.unescape((run.path / "report.html").read_text(encoding="utf-8"))
    assert "transferkit limits pets" in page
    assert str(tmp_path) not in page


def test_no_class_is_named_best_and_worst_at_once() -> None:
    scores = evaluate(outputs(), outputs()).test
    assert scores
    level = replace(scores, per_class=tuple(replace(row, recall=0.7) for row in scores.per_class))

    assert list(class_sentences(level, tells_guessing=False)) == ["It finds every class equally well (70.0 % of each)."]


def test_page_markdown_and_csv_tell_the_same_facts(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    page = page_of(run)
    markdown = (run.path / "report.md").read_text(encoding="utf-8")

    for text in (page, markdown):
        assert FACTS["command"] in text
        assert "3 unreadable files were left out" in text
        assert "The test set was opened once." in text
        assert "5c106cde" in text
        assert "cite the authors" in text
        assert "93.8 to 95.7" in text
    with (run.path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == ["cat", "dog", "ship", "truck"]
    assert rows[1] == ["cat", "7", "3", "0", "0"]


def test_every_mistake_is_behind_its_cell_with_id_confidence_and_picture(tmp_path: Path) -> None:
    images = embedded(page_of(finished_run(tmp_path / "run")))["images"]

    behind = [i for i, cell in enumerate(zip(images["true"], images["predicted"], strict=True)) if cell == (0, 1)]
    assert {images["id"][i] for i in behind} == {"test/0/0.png", "test/0/1.png", "test/0/2.png"}
    assert all(images["picture"][i].startswith("data:image/") for i in behind)
    assert all(0 < images["confidence"][i] < 1 for i in behind)


def test_a_second_opening_of_the_test_set_is_said_everywhere(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.write_json("facts", FACTS | {"test_openings": 3})

    assert "opened 3 times" in page_of(run)
    assert "opened 3 times" in (run.path / "report.md").read_text(encoding="utf-8")
    assert "opened 3 times" in " ".join(terminal_lines(run))


def test_a_listed_image_stands_beside_what_the_network_compared_it_with_and_where_it_looked(tmp_path: Path) -> None:
    page = html.unescape(page_of(finished_run(tmp_path / "run")))

    mistakes = page.split('id="mistakes"', 1)[1].split("</section>", 1)[0]
    assert "among 1,000 of 5,000" in mistakes
    assert "Grad-CAM of layer4, a map of 2 x 2 px" in mistakes
    assert mistakes.count('alt="the regions that supported the prediction"') == 12
    assert mistakes.count('alt="training image, cat, cosine 0.90"') == 3


def test_the_map_has_a_dot_for_every_place_and_rings_the_mistakes(tmp_path: Path) -> None:
    page = page_of(finished_run(tmp_path / "run"))

    drawn = page.split('class="map"', 1)[1].split("</svg>", 1)[0]
    images = embedded(page)["images"]
    dots = re.findall(r'<circle class="(k\d)( miss)?" data-image="(\d+)" data-class="(\d+)"', drawn)
    assert len(dots) == 40
    for colour, miss, row, label in dots:
        assert colour == f"k{label}"
        assert images["true"][int(row)] == int(label)
        assert bool(miss) == (images["predicted"][int(row)] != int(label))
    assert "Features of all 40 test images" in page


def test_many_classes_share_one_colour_on_the_map(tmp_path: Path) -> None:
    page = page_of(finished_run(tmp_path / "run", outputs(names=tuple(f"class {label}" for label in range(11)))))

    assert set(re.findall(r'<circle class="(k\d*)', page)) == {"k"}
    assert "The dots of one label light up together" in page


def test_the_first_report_makes_the_map_and_the_run_keeps_it(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.map_path.unlink()

    page = page_of(run)

    assert "There is no map: the features of these images lie on one line." in page  # the made-up ones are all zero
    assert run.map_path.exists()


def test_calibration_stands_beside_its_temperature_and_what_chance_gives(tmp_path: Path) -> None:
    test = outputs(per_class=100, wrong=30)
    run = finished_run(tmp_path / "run", test)

    page = html.unescape(page_of(run)).replace("\N{NO-BREAK SPACE}", " ")
    markdown = (run.path / "report.md").read_text(encoding="utf-8")

    temperature = fit_temperature(test)
    assert temperature is not None
    for text in (page, markdown):
        assert f"Temperature T = {temperature:.2f} (95 % interval" in text
        assert "fitted on val, n = 400" in text
        assert f"{100 * ece(test):.1f} %" in text
        assert f"{100 * ece(with_temperature(test, temperature)):.1f} %" in text
        assert "none: no coverage guarantees it" in text
    assert page.count("Overconfident classes") == 1


@pytest.mark.parametrize(
    ("sure", "right", "in_tile", "sentence"),
    [
        (
            0.55,
            100,
            "not sure enough",
            "It is right more often than it says: 100 % against 55 % on average",
        ),
        (
            0.95,
            50,
            "too sure",
            "It is overconfident, right less often than it says: 50 % against 95 %",
        ),
        (
            0.8,
            80,
            "within chance",
            "It cannot be told apart from a calibrated one: right 80 % of",
        ),
    ],
)
def test_tile_and_section_give_one_verdict_on_confidence_with_its_numbers(
    sure: float, right: int, in_tile: str, sentence: str
) -> None:
    scores = evaluate(two_class([sure] * 100, [True] * right + [False] * (100 - right))).test

    assert verdict(scores) == in_tile
    assert verdict_sentence(scores).startswith(sentence)
    assert "n = 100 test images" in verdict_sentence(scores)


def test_a_model_too_sure_here_and_too_unsure_there_is_told_from_a_calibrated_one() -> None:
    hits = [True] * 100 + [True, False] * 50
    scores = evaluate(two_class([0.55] * 100 + [0.95] * 100, hits)).test  # 75 % right, 75 % sure

    assert verdict_sentence(scores) == (
        "On average it is right about as often as it says (75 % against 75 %, n = 200 test images), but not at every "
        "confidence."
    )


def test_the_page_gives_its_verdict_on_confidence_once_in_words_and_its_table_only_numbers(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(per_class=100, wrong=30))

    page = html.unescape(page_of(run)).replace("\N{NO-BREAK SPACE}", " ")

    assert run.evaluation is not None
    scores = run.evaluation.test
    assert verdict(scores) in page
    assert verdict_sentence(scores) in page
    assert verdict_sentence(scores) in (run.path / "report.md").read_text(encoding="utf-8")
    assert len(re.findall(r"chance alone gives up to \d+\.\d %", page)) == 2


def test_a_temperature_of_few_images_has_no_interval(tmp_path: Path) -> None:
    page = page_of(finished_run(tmp_path / "run"))

    assert re.search(r"Temperature T = \d\.\d\d, fitted on val, n = 40; above 1 it lowers confidence\.", page)


def test_the_page_tells_its_confidences_from_those_that_predict_gives(tmp_path: Path) -> None:
    test = outputs(per_class=100, wrong=30)
    run = finished_run(tmp_path / "run", test)

    page = html.unescape(page_of(run)).replace("\N{NO-BREAK SPACE}", " ")

    temperature = fit_temperature(test)
    assert temperature is not None
    error = f"{100 * ece(with_temperature(test, temperature)):.1f} %"
    assert f"; {error} as predict answers</small>" in page
    said = (
        "Confidences on this page are without temperature; predict and serve divide the logits by it "
        f"(T = {temperature:.2f})."
    )
    assert page.count(said) == 4  # at the mistakes, the least sure hits, the calibration and the promises
    assert said in (run.path / "report.md").read_text(encoding="utf-8")


def test_a_promise_names_coverage_threshold_errors_and_bound(tmp_path: Path) -> None:
    page = html.unescape(page_of(finished_run(tmp_path / "run", outputs(per_class=500, wrong=0))))

    promised = page.replace("\N{NO-BREAK SPACE}", " ").split("What can be promised", 1)[1]
    assert "errors ≤ 1 %" in promised
    assert "answer 100.0 %, those with confidence" in promised
    assert "(0 errors in 2,000, bound 0.3 %)" in promised  # 1 - (.05 / 20)^(1 / 2,000)


def test_similar_classes_become_neighbours() -> None:
    confusion = np.array([[9, 0, 4, 0], [0, 9, 0, 4], [4, 0, 9, 0], [0, 4, 0, 9]])

    order = similarity_order(confusion)

    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


def test_published_figures_stand_only_beside_matching_data_and_weights() -> None:
    recipe = {"data": {"name": "cifar10"}, "backbone": {"name": "resnet18"}, "method": {"name": "finetune"}}
    weights = WeightsRecord("torchvision", "IMAGENET1K_V1")

    found = published(parse(recipe), weights)

    assert isinstance(found, Published)
    assert found.range == "93.8 to 95.7"
    assert "official CIFAR-10 files only" in str(published(parse(recipe | {"data": "digits"}), weights))
    assert "limited" in str(published(parse(recipe | {"data": {"name": "cifar10", "limit_per_class": 50}}), weights))
    assert "used others" in str(published(parse(recipe), WeightsRecord("file", "IMAGENET1K_V1")))
    assert "No published figure" in str(published(parse(recipe | {"backbone": {"name": "vgg11"}}), weights))
    assert len(CIFAR10) >= 15


# ---- what it never lets through ----


def test_hostile_names_and_ids_stay_text(tmp_path: Path) -> None:
    test = outputs(names=HOSTILE)
    test = Outputs(test.features, test.logits, test.labels, tuple(HOSTILE[i % 4] for i in range(40)), HOSTILE)
    run = finished_run(tmp_path / "run", test)
    run.write_json("facts", FACTS | {"notes": [HOSTILE[0]], "command": HOSTILE[1]})

    page = page_of(run)

    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    assert embedded(page)["names"] == list(HOSTILE)
    assert "<script>" not in (run.path / "report.md").read_text(encoding="utf-8").replace(f"\n{HOSTILE[1]}\n", "")


def test_the_policy_admits_nothing_but_the_pages_own_script_and_style(tmp_path: Path) -> None:
    page = page_of(finished_run(tmp_path / "run"))

    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src &#39;none&#39;" in policy.group(1)
    assert "unsafe" not in policy.group(1)
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []
    assert "style=" not in page
    assert "onclick" not in page


def test_terminal_escapes_in_names_are_disarmed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(names=("\x1b[2Jcat", "[bold]dog[/bold]")))

    text = "\n".join(terminal_lines(run))

    assert "\x1b[2J" not in text
    assert "[bold]dog[/bold]" in text


def test_formulas_do_not_reach_a_spreadsheet(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(names=("=HYPERLINK(1)", "ok")))
    report.write(run)

    assert "'=HYPERLINK(1)" in (run.path / "confusion.csv").read_text(encoding="utf-8").splitlines()[0]


def test_names_of_any_script_and_length_are_shown_whole_in_a_title(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(names=ANY_SCRIPT))

    page = page_of(run)

    for name in ANY_SCRIPT:
        assert f"<title>{name}</title>" in page
    assert max(len(line) for line in terminal_lines(run)) <= 80


# ---- what is not there ----


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("history.jsonl", "no training log"),
        ("facts.json", "parameter groups were not recorded"),
        ("environment.json", "environment was not recorded"),
        ("outputs/test.safetensors", "stored outputs are not there"),
        ("outputs/thumbnails.safetensors", "No pictures were kept"),
        ("outputs/explanations.safetensors", "no nearest training images"),
        ("evaluation.json", "There is no evaluation"),
        ("model.json", "Fine-tuned resnet18 gets"),
        ("recipe.yaml", "recipe cannot be shown"),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_make_it(tmp_path: Path, gone: str, says: str) -> None:
    run = finished_run(tmp_path / "run")
    (run.path / gone).unlink()

    page = html.unescape(page_of(Run(run.path)))

    assert says in page
    assert gone == "model.json" or "transferkit run" in page
    assert len(terminal_lines(Run(run.path))) <= 50


def test_a_damaged_log_does_not_cost_the_report(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    (run.path / "history.jsonl").write_text('{"epoch": 1, "lo')

    assert "no training log" in page_of(run)


def test_facts_of_an_early_version_may_lack_every_key(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.write_json("facts", {"format": 1})

    page = page_of(run)

    assert "transferkit run run/recipe.yaml --out ANOTHER_FOLDER" in page
    assert "not recorded" in page


def test_a_probe_says_that_it_has_no_epochs(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", method="probe")
    run.write_history(History())
    run.write_json("facts", FACTS | {"probe": {"C": 0.1, "grid": [0.01, 0.1], "validation_accuracy": [0.5, 0.6]}})

    page = page_of(run)

    assert "A linear probe on resnet18 gets" in page
    assert "Probe: validation accuracy over C" in page


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "never")])
def test_two_classes_and_classes_without_test_images_are_shown(tmp_path: Path, names: tuple[str, ...]) -> None:
    run = finished_run(tmp_path / "run", outputs(names=names, labels=[0, 0, 0, 1, 1, 1], wrong=1))

    page = page_of(run)

    assert 'class="matrix labelled"' in page
    assert ("not defined" in page) == (len(names) == 3)
    assert len(terminal_lines(run)) <= 50


@pytest.mark.parametrize("wrong", [0, 3])
def test_test_images_of_one_class_alone_are_reported(tmp_path: Path, wrong: int) -> None:
    run = finished_run(tmp_path / "run", outputs(labels=[1] * 120, wrong=wrong))

    page = html.unescape(page_of(run))

    assert f"gets {100 * (120 - wrong) / 120:.1f}\N{NO-BREAK SPACE}% of 120 test images right" in page
    assert ("not defined: it needs correct and wrong answers" in page) == (wrong == 0)
    assert len(terminal_lines(run)) <= 50


def test_a_single_class_is_reported(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(names=("only",), wrong=0))

    page = html.unescape(page_of(run))

    assert "100.0\N{NO-BREAK SPACE}% of 10 test images right" in page
    assert "There is no mistake to show." in page


def test_no_test_image_at_all_is_said(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(labels=[]))

    page = html.unescape(page_of(run))

    assert "has not been evaluated" in page
    assert "There was no test image." in page


# ---- weight ----


def test_a_page_is_built_without_torch(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; "
        "from transferkit import report; from transferkit.runs import run_directory; "
        "report.write(run_directory.Run(Path(sys.argv[1]))); print('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"  # its import takes longer than the page


def test_two_hundred_classes_are_a_picture_and_not_a_wall_of_text(tmp_path: Path) -> None:
    names = tuple(f"class number {label}" for label in range(202))
    run = finished_run(tmp_path / "run", outputs(names=names, per_class=5, wrong=2))

    page = page_of(run)
    lines = terminal_lines(run)

    assert 'class="matrix dense"' in page
    assert "data-row" not in page.split("<script", 1)[0]
    assert 'id="find"' in page
    assert len(lines) <= 50


@pytest.mark.parametrize("classes", [2, 3, 9, 10, 11, 12, 13, 20, 21])
def test_the_verdict_with_what_next_fits_into_50_lines_of_80_columns(tmp_path: Path, classes: int) -> None:
    names = tuple(f"a rather long class name {label}" for label in range(classes))

    lines = terminal_lines(finished_run(tmp_path / "run", outputs(names=names, per_class=20)))

    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80


def test_a_page_of_ten_thousand_images_stays_below_five_megabytes(tmp_path: Path) -> None:
    names = tuple(f"class {label}" for label in range(10))
    run = finished_run(tmp_path / "run", outputs(names=names, per_class=1000, wrong=150))

    page = page_of(run)

    assert len(page.encode()) < 5e6
    assert "5,000 of 10,000 test images" in page


def test_pictures_stop_at_the_budget_first_ones_first() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    whole = inline_images.data_uris(dict(enumerate(noise)))

    some = inline_images.data_uris(dict(enumerate(noise)), budget_bytes=sum(map(len, whole.values())) // 2)

    assert list(some) == list(range(len(some)))
    assert 5 < len(some) < 15


def test_a_picture_survives_its_format() -> None:
    import base64
    import io

    from PIL import Image

    picture = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 8, 8)

    uri = inline_images.data_uri(picture)

    decoded = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    assert np.array_equal(np.asarray(decoded).transpose(2, 0, 1), picture)  # tiny pictures are lossless


# ---- drawings ----


def test_every_cell_with_images_is_drawn_and_no_other() -> None:
    drawn = svg_confusion_matrix.confusion_svg(np.array([[5, 0], [2, 3]]), ["a", "b"])

    assert sorted(set(re.findall(r'data-cell="(\d,\d)"', drawn))) == ["0,0", "1,0", "1,1"]


def test_of_many_classes_the_cells_of_one_shade_are_one_path() -> None:
    confusion = np.diag([3] * 50)
    confusion[4, 7] = 1

    drawn = svg_confusion_matrix.confusion_svg(confusion, [f"class {label}" for label in range(50)])

    side = svg_confusion_matrix.cell_px(50)
    paths = dict(re.findall(r'data-shade="(\w\d)" d="([^"]*)"', drawn))
    assert len(paths) == 18
    assert paths["h9"].count("M") == 49  # all right
    assert paths["h8"].count("M") == 1  # 3 of 4: sqrt(.75) of nine shades is 7.8
    assert paths["m5"] == f"M{7 * side:g} {4 * side:g}h{side:g}v{side:g}h-{side:g}z"  # 1 of 4
    assert "data-cell" not in drawn


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.3, 0.31), (-5, 1234), (1e-6, 2e-6)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = svg_lines.ticks(low, high)

    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


def test_one_epoch_is_a_curve_too() -> None:
    assert "<circle" in svg_lines.curve([svg_lines.Line([1.0], [0.5])], "loss")


@pytest.mark.parametrize("name", sorted(FIGURES))
@pytest.mark.parametrize(("suffix", "begins"), [("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_every_figure_is_drawn_in_every_format(tmp_path: Path, name: str, suffix: str, begins: bytes) -> None:
    run = with_layers(finished_run(tmp_path / "run", outputs(names=("$x^2$", "dog", "<b>"))))
    path = tmp_path / f"figure.{suffix}"

    figure(run, name, path)

    assert path.read_bytes().startswith(begins)


def test_a_name_with_dollars_is_no_formula(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", outputs(names=("$x^2$", "dog")))

    figure(run, "confusion", tmp_path / "out.svg")

    assert "$x^2$" in (tmp_path / "out.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "file", "says"),
    [
        ("confusoin", "out.pdf", "Did you mean 'confusion'?"),
        ("confusion", "out.doc", "ends in .pdf, .png or .svg"),
        ("training", "out.pdf", "needs the run's history"),
    ],
)
def test_a_figure_that_cannot_be_drawn_says_why(tmp_path: Path, name: str, file: str, says: str) -> None:
    run = finished_run(tmp_path / "run")
    (run.path / "history.jsonl").unlink()

    with pytest.raises(TransferkitError, match=re.escape(says)):
        figure(run, name, tmp_path / file)


# ---- comparisons ----


def test_a_comparison_shows_verdict_difference_failures_and_links_to_its_runs(tmp_path: Path) -> None:
    with result_folders.hold_results(tmp_path, STUDY):
        study(tmp_path).write(tmp_path)

    write_pages(tmp_path)

    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "finetune is better than scratch by 3.1 points." in page
    assert "<b>+3.1</b> <small>+1.2 to +5.0</small>" in page
    assert "the disk is full" in page
    assert "transferkit run study" in page
    assert 'href="runs/arm1-seed0/report.html"' in page


def test_hostile_names_of_arms_stay_text(tmp_path: Path) -> None:
    with result_folders.hold_results(tmp_path, STUDY):
        study(tmp_path, names=(HOSTILE[0], HOSTILE[1])).write(tmp_path)

    write_pages(tmp_path)

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 1


def test_the_verdict_of_a_comparison_fits_the_terminal(tmp_path: Path) -> None:
    console = Console(width=80, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(comparison_verdict(study(tmp_path)))

    text = console.export_text()
    assert "the disk is full" in text
    assert len(text.splitlines()) <= 40
