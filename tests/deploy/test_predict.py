"""Any number of images named by a run: read from every kind of source, resumed, written, shown, sorted."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from predicting_runs import predicting_run

from transferkit.cli.app import main
from transferkit.cli.predict import AnswerTable
from transferkit.data.images import Images
from transferkit.deploy import answer_files, prediction
from transferkit.deploy import answers as answers_module
from transferkit.deploy.answer_page import most_doubtful
from transferkit.deploy.answer_rows import AnswerRow
from transferkit.deploy.answers import Answer, PredictSettings, answer, task_of
from transferkit.deploy.prediction import Model, load
from transferkit.features.extraction import lazy_pictures
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.sources import opened_source
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of random weights, with thresholds from images of noise."""
    return predicting_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run, device="cpu")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty pictures in two folders; the working folder is theirs."""
    draws = np.random.default_rng(0)
    for number in range(20):
        place = tmp_path / "photos" / ("a" if number < 10 else "b") / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draws.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(place)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def command(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Exit code, standard output and messages of `transferkit predict RUN ...`."""

    def carry_out(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["transferkit", "predict", str(run), *words, "--device", "cpu"])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, " ".join(shown.err.split())

    return carry_out


Command = Callable[..., tuple[int, str, str]]


def table(file: str | Path) -> list[dict[str, str]]:
    with Path(file).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_pipe_gets_columns_with_tabs_and_a_header(command: Command, photos: Path, model: Model) -> None:
    code, shown, _ = command("photos")

    header, *lines = shown.splitlines()
    predictions = model.predict(photos)
    assert code == 0
    assert header.split("\t") == ["path", "answer", "probability", "note"]
    assert [line.split("\t")[0] for line in lines[:2]] == ["photos/a/00.png", "photos/a/01.png"]
    assert [line.split("\t")[2] for line in lines] == [f"{prediction.probability:.3f}" for prediction in predictions]


def test_a_model_prints_as_a_line(model: Model) -> None:
    assert repr(model) == "Model: resnet20, run run, 8 px, 3 classes (cat, dog, ship)"


def test_a_terminal_gets_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    AnswerTable(is_aligned=True).show([Answer("猫.png", None, "empty"), Answer("longer name.png", None, "truncated")])

    assert capsys.readouterr().out.splitlines() == [
        "path             answer      probability  note",
        "猫.png           unreadable               empty",
        "longer name.png  unreadable               truncated",
    ]


def test_a_file_of_answers_says_what_the_model_says(command: Command, photos: Path, model: Model) -> None:
    code, shown, messages = command("photos", "--out", "answers.csv", "--top", "2")

    rows, predictions = table("answers.csv"), model.predict(photos)
    assert (code, shown) == (0, "")
    assert "20 images" in messages
    ranked = ["class_1", "probability_1", "class_2", "probability_2"]
    assert list(rows[0]) == ["path", "answer", "probability", "unknown", "unusual_percent", *ranked, "error"]
    assert [row["answer"] for row in rows] == [
        "unknown" if prediction.unknown else prediction.name for prediction in predictions
    ]
    assert [row["class_1"] for row in rows] == [prediction.name for prediction in predictions]
    assert [float(row["probability_1"]) for row in rows] == pytest.approx(
        [prediction.probability for prediction in predictions], abs=1e-6
    )
    assert [int(row["unusual_percent"]) for row in rows] == [prediction.percentile for prediction in predictions]
    second = [sorted(prediction.probabilities.values())[-2] for prediction in predictions]
    assert [float(row["probability_2"]) for row in rows] == pytest.approx(second, abs=1e-6)


@pytest.mark.usefixtures("photos")
def test_all_kinds_of_files_hold_the_same_answers(command: Command) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    for kind in ("csv", "jsonl", "parquet"):
        assert command("photos", "--out", f"answers.{kind}", "--skip-bad")[0] == 0

    lines = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    columns = parquet.read_table("answers.parquet").to_pylist()
    assert [float(row["probability"]) for row in table("answers.csv")] == [line["probability"] for line in lines]
    assert [row["probability_3"] for row in columns] == [line["top"][2]["probability"] for line in lines]
    assert [row["unknown"] for row in columns] == [line["unknown"] for line in lines]


def test_an_unreadable_file_is_a_row_and_an_error_at_the_end(command: Command, photos: Path) -> None:
    (photos / "a" / "05.png").write_bytes((photos / "a" / "05.png").read_bytes()[:60])

    code, _, messages = command("photos", "--out", "answers.csv")

    rows = table("answers.csv")
    assert code == 1
    assert "1 of 20 images could not be read; their rows say why." in messages
    assert (rows[5]["answer"], rows[5]["probability"], rows[5]["class_1"]) == ("", "", "")
    assert "truncated" in rows[5]["error"]
    assert all(row["answer"] for row in rows if row is not rows[5])


def test_skip_bad_makes_unreadable_files_no_error_and_counts_them(command: Command, photos: Path) -> None:
    (photos / "a" / "05.png").write_bytes(b"")

    code, shown, messages = command("photos", "--skip-bad")

    assert code == 0
    assert "photos/a/05.png\tunreadable\t\tthe file is empty (0 bytes)" in shown.splitlines()
    assert "1 of 20 images could not be read." in messages


@pytest.mark.usefixtures("photos")
def test_a_killed_prediction_goes_on_where_it_stopped(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command("photos", "--out", "whole.csv", "--batch-size", "4")
    plain, asked = answers_module._answers, []

    def stop_at_the_fourth(task, pixels, pictures):  # type: ignore[no-untyped-def]
        asked.append(len(pixels))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return plain(task, pixels, pictures)

    monkeypatch.setattr(answers_module, "_answers", stop_at_the_fourth)
    stopped = command("photos", "--out", "answers.csv", "--batch-size", "4")
    with Path("answers.csv.partial/answers.jsonl").open("a") as journal:
        journal.write('{"path": "cut off')
    resumed = command("photos", "--out", "answers.csv", "--batch-size", "4")

    assert stopped[0] == 130
    assert "The answers so far are kept beside answers.csv; the same command goes on from there." in stopped[2]
    assert resumed[0] == 0
    assert "12 of 20 images are answered already" in resumed[2]
    assert sum(asked[4:]) == 8
    assert Path("answers.csv").read_text() == Path("whole.csv").read_text()
    assert not Path("answers.csv.partial").exists()


@pytest.mark.usefixtures("photos")
def test_answers_begun_otherwise_are_not_mixed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(answer_files.WRITERS, ".csv", lambda *_: 1 / 0)
        assert command("photos", "--out", "answers.csv")[0] == 1

    code, _, messages = command("photos", "--out", "answers.csv", "--acceptance", "0.8")

    assert code == 2
    assert "was begun otherwise: acceptance (0.95, 0.8)" in messages
    assert command("photos", "--out", "answers.csv")[0] == 0


def test_answers_come_before_all_images_are_read(model: Model, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = lazy_pictures.decode
    monkeypatch.setattr(lazy_pictures, "decode", lambda path, *rest: (read.append(str(path)), plain(path, *rest))[1])
    task = task_of(model, [str(photos)], PredictSettings(batch_size=2), SILENT)
    listing = task.source.listed(photos.parent / "listing")

    first = next(answer(task, listing.shard((1, 1))))

    assert len(first) == 2
    assert len(read) <= 6  # this batch, the next one that waits, and one that is being decoded


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        (["photos/a", "photos/b/10.png"], "", 11),
        (["photos/**/1?.png"], "", 10),
        (["list.csv"], "", 2),
        (["-"], "photos/a/00.png\n\nphotos/b/11.png\n", 2),
    ],
)
def test_every_kind_of_source_is_taken(command: Command, words: list[str], stdin: str, expected: int) -> None:
    Path("list.csv").write_text("path\nphotos/a/01.png\nphotos/a/02.png\n")

    code, shown, _ = command(*words, stdin=stdin)

    assert code == 0
    assert len(shown.splitlines()) == expected + 1


def test_a_data_set_is_a_source(command: Command) -> None:
    code, shown, messages = command("digits", "--part", "test", "--json")

    assert code == 0
    assert len(json.loads(shown)) == 898
    assert "opened the 898 test images of digits" in messages


def test_json_holds_every_class_and_says_what_is_unreadable(command: Command, photos: Path) -> None:
    (photos / "b" / "19.png").write_bytes(b"")

    code, shown, _ = command("photos/b", "--json", "--skip-bad")

    documents = json.loads(shown)
    assert code == 0
    assert sum(documents[0]["probabilities"].values()) == pytest.approx(1.0)
    assert documents[0]["answer"] == ("unknown" if documents[0]["unknown"] else documents[0]["class"])
    assert documents[9] == {"path": "photos/b/19.png", "answer": "", "error": "the file is empty (0 bytes)"}


# ---- the page ----


def test_the_page_shows_names_as_text_alone(command: Command, photos: Path) -> None:
    shutil.copy(photos / "a" / "00.png", photos / "a" / HOSTILE)
    (photos / "b" / "10.png").write_bytes(b"")

    assert command("photos", "--html", "page.html")[0] == 1

    page = Path("page.html").read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert "<img src=x" not in page
    assert page.count('src="data:image/') == 20
    assert "<bdi>photos/b/10.png</bdi>" in page
    assert "default-src &#39;none&#39;" in page


def test_unknown_images_come_first_and_then_the_least_certain() -> None:
    base = AnswerRow("", "cat", 0.9, False, 10, (("cat", 0.9),), "")
    rows = [
        base,
        replace(base, probability=0.4),
        replace(base, unknown=True, unusual_percent=97),
        replace(base, answer="", probability=None, unknown=None, error="empty"),
        replace(base, unknown=True, unusual_percent=100),
    ]

    assert list(most_doubtful(iter(rows))) == [4, 2, 1, 0]
    assert list(most_doubtful(iter(rows), most=2)) == [4, 2]


# ---- copies by answer ----


def test_images_are_copied_by_answer_once_and_nothing_is_overwritten(command: Command, photos: Path) -> None:
    command("photos", "--out", "answers.csv")
    row = table("answers.csv")[0]
    mine = Path("sorted") / row["answer"] / "00.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    codes = [command("photos", "--sort-into", "sorted")[0] for _ in range(2)]

    copies = {path for path in Path("sorted").rglob("*") if path.is_file()} - {mine}
    assert codes == [0, 0]
    assert mine.read_text() == "mine"
    assert mine.with_name("00-2.png").read_bytes() == (photos / "a" / "00.png").read_bytes()
    assert len(copies) == 20
    assert len(list(photos.rglob("*.png"))) == 20


def test_two_files_of_one_name_are_both_copied(command: Command, photos: Path) -> None:
    shutil.copy(photos / "a" / "00.png", photos / "b" / "00.png")
    with Image.open(photos / "b" / "00.png") as image:
        image.save(photos / "b" / "00.png", compress_level=0)  # the same pixels, other bytes

    command("photos", "--sort-into", "sorted")

    assert sorted(path.name for path in Path("sorted").rglob("00*.png")) == ["00-2.png", "00.png"]


# ---- what is refused ----


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "bmp", "tiff"])
def test_a_picture_on_standard_input_is_no_list_of_paths(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(file, kind)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(file.getvalue()))))

    with pytest.raises(TransferkitError, match=r"list of paths, one per line, and this looks like a picture\."):
        opened_source("-", ExtractSettings("resnet18"), SILENT).some_lines()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "There are no images at 'nowhere'. Expected a file, a folder, a glob"),
        (["photos/b/18.jgp"], "photos/b/18.jgp does not exist. Did you mean photos/b/18.png?"),
        (["photso/b/18.jpg"], "photso/b/18.jpg does not exist; there is no folder photso."),
        (["empty"], "empty holds no images"),
        (["photos", "empty"], "empty holds no images"),
        (["photos", "digits"], "digits, part trainval, is taken by itself. Leave the other sources out."),
        (["photos", "-"], "standard input is taken by itself"),
        (["-"], "standard input holds no images"),
        (["photos", "--out", "answers.xlsx"], "'answers.xlsx'. Available: .csv, .jsonl, .parquet."),
        (
            ["photos", "--out", "taken.csv"],
            "taken.csv exists. Choose another file with --out, or replace it with --overwrite.",
        ),
        (["photos", "--html", "page.pdf"], "--html names 'page.pdf', which is no page. Let it end in .html."),
        (["photos", "--sort-into", "photos/sorted"], "photos/sorted lies in photos, whose images are to be sorted."),
        (["photos/**/*.png", "--sort-into", "photos"], "photos lies in photos, whose images are to be sorted."),
        (["photos", "--sort-into", "taken.csv"], "taken.csv is a file. Choose another folder with --sort-into."),
        (["digits", "--sort-into", "sorted"], "--sort-into copies files, and digits, part trainval, has none."),
    ],
)
def test_bad_input_gets_one_message_and_leaves_nothing(command: Command, words: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("taken.csv").write_text("mine")
    before = sorted(Path().rglob("*"))

    code, shown, messages = command(*words, *([] if "--out" in words else ["--out", "new.csv"]))

    assert code == 2
    assert shown == ""
    assert message in messages
    assert sorted(Path().rglob("*")) == before


@pytest.mark.usefixtures("photos")
def test_a_folder_that_is_no_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["transferkit", "predict", "photos", "photos"])

    with pytest.raises(SystemExit, match="2"):
        main()

    assert "photos is no run: it has no recipe.yaml." in capsys.readouterr().err


@pytest.mark.slow
def test_in_8_bits_a_run_is_calibrated_on_its_training_images_and_says_so(
    photos: Path, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    train = Images.from_pixels(pixels, np.zeros(40, np.int64), ("cat", "dog", "ship"))
    monkeypatch.setattr(prediction, "same_images", lambda *_: SimpleNamespace(train=train))

    code, answers, messages = command(str(photos), "--precision", "int8", "--json")

    assert code == 0, messages
    assert "8 bits: calibrating on 35 images" in messages
    assert "`unknown` is judged by thresholds made in fp32" in messages
    in_8_bits, own = json.loads(answers), json.loads(command(str(photos), "--json")[1])
    shares = [[list(row["probabilities"].values()) for row in rows] for rows in (in_8_bits, own)]
    assert shares[0] != shares[1]
    assert np.allclose(*shares, atol=0.1)
