"""The folder that an export leaves: what is in it, what its predict.py sees, and what it never replaces."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from synthetic_runs import outputs
from test_exports import answers, random_images, stored

import transferkit
from transferkit.data.decoding import decode
from transferkit.data.images import Images
from transferkit.deploy.export import bundle, onnx_int8
from transferkit.deploy.export.accuracy_loss import AccuracyLoss, measure_loss
from transferkit.deploy.export.answering import Answering
from transferkit.deploy.export.target import Target, claim, publish, target_of
from transferkit.deploy.formats import FORMATS, Format
from transferkit.metrics.statistics import Interval
from transferkit.ood import rejection
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.errors import TransferkitError

FILES = {"model.pt2", "classes.json", "predict.py", "Dockerfile", "MODEL_CARD.md"}
Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def toy_folder_format(monkeypatch: pytest.MonkeyPatch) -> str:
    import toy_format

    monkeypatch.setattr(toy_format, "NEEDS", ("torch",), raising=False)
    monkeypatch.setitem(FORMATS, "toy-folder", Format("toy_format", "class names", is_folder=True))
    return "toy-folder"


# -------------------------------------------------------------------------------------------- where an export goes


@pytest.mark.parametrize(
    ("out", "file", "is_folder"),
    [
        (None, "run/export/onnx/model.onnx", True),
        ("mine.onnx", "mine.onnx", False),
        ("deployed", "deployed/model.onnx", True),
        ("model-1.2", "model-1.2/model.onnx", True),
    ],
)
def test_a_name_with_the_suffix_is_a_file_and_any_other_a_folder(out: str | None, file: str, is_folder: bool) -> None:
    target = target_of(Path("run"), "onnx", None if out is None else Path(out), "model.onnx")

    assert (target.file, target.is_folder) == (Path(file), is_folder)


def test_the_suffix_of_another_format_is_no_folder_either() -> None:
    with pytest.raises(TransferkitError, match=r"model\.pth does not end in \.onnx, .*, and it is no folder"):
        target_of(Path("run"), "onnx", Path("model.pth"), "model.onnx")


def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(tmp_path: Path, toy_folder_format: str) -> None:
    run, mine = stored(tmp_path / "run", "lenet", 32), tmp_path / "mine"
    mine.mkdir()
    (mine / "predict.py").write_text("mine")

    with pytest.raises(TransferkitError, match=r"mine holds other files and is no exported model"):
        transferkit.export(run, toy_folder_format, mine, overwrite=True)

    assert [path.name for path in mine.iterdir()] == ["predict.py"]


def test_an_earlier_export_is_replaced_when_asked_and_a_stranger_beside_it_stays(
    tmp_path: Path, toy_folder_format: str
) -> None:
    run, out = stored(tmp_path / "run", "lenet", 32), tmp_path / "out"
    transferkit.export(run, toy_folder_format, out)
    (out / "notes.txt").write_text("mine")

    with pytest.raises(TransferkitError, match="already holds an exported model"):
        transferkit.export(run, toy_folder_format, out)
    transferkit.export(run, toy_folder_format, out, overwrite=True)

    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "classes.txt").exists()


def test_a_file_that_came_while_an_export_was_made_stays(tmp_path: Path) -> None:
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / "model.onnx").write_text("mine")
    place = Target(tmp_path / "model.onnx", is_folder=False)

    with claim(place, overwrite=False):
        (tmp_path / "model.onnx").write_text("another's")
        with pytest.raises(TransferkitError, match=r"model\.onnx exists\. Choose another file with --out"):
            publish(tmp_path / "workshop", place)

    assert (tmp_path / "model.onnx").read_text() == "another's"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "resnet18", 32, stem="cifar")

    with pytest.raises(TransferkitError, match="is not built as torchvision's"):
        transferkit.export(run, "weights", tmp_path / "deep" / "weights.safetensors")

    assert not (tmp_path / "deep").exists()


# ------------------------------------------------------------------------------------------------ what predict.py sees


def saved(folder: Path, name: str, mode: str, orientation: int = 1) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 130, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode) if mode != "I;16" else Image.fromarray(pixels.view(np.uint16)[..., 0])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(folder / name, exif=exif)
    return folder / name


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, int], Any]:
    """predict.py of a folder, beside a model that is not looked at."""

    def of(fit: str, side_px: int) -> Any:
        facts = {"side_px": side_px, "fit": fit, "black": 0, "white": 65535, "classes": ["cat"]}
        (tmp_path / "classes.json").write_text(json.dumps(facts))
        text = bundle.predict_script(bundle.Program("torch-export", "model.pt2", ("torch",)), fit)
        (tmp_path / "predict.py").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.export, "load", lambda _: SimpleNamespace(module=torch.nn.Identity))
            return runpy.run_path(str(tmp_path / "predict.py"))["pixels"]

    return of


class OnlyCats(torch.nn.Module):
    """Stands in for a model of one class: probability 1, score 0, threshold 1."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        one = torch.ones(len(images), 1)
        return one, one, one[:, 0] - 1, torch.ones(1), one


@pytest.fixture
def predict_py(
    tmp_path: Path,
    script: Callable[[str, int], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[object, str, str]]:
    """Types `python predict.py WORDS`: exit code, answers and complaints."""
    script("squash", 24)

    def typed(*words: object) -> tuple[object, str, str]:
        monkeypatch.setattr(torch.export, "load", lambda _: SimpleNamespace(module=OnlyCats))
        monkeypatch.setattr("sys.argv", ["predict.py", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(tmp_path / "predict.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return typed


def test_a_broken_picture_costs_predict_py_only_its_own_answer(tmp_path: Path, predict_py: Any) -> None:
    first, last, broken = saved(tmp_path, "a.jpg", "RGB"), saved(tmp_path, "z.png", "L"), tmp_path / "broken.jpg"
    broken.write_bytes(first.read_bytes()[:1500])

    code, shown, complaints = predict_py(first, broken, tmp_path / "none.jpg", last)

    assert (code, shown) == (2, f"{first}\tcat\t1.000\n{last}\tcat\t1.000\n")
    told = complaints.splitlines()
    assert told[0].startswith(f"{broken}\tunreadable: image file is truncated")
    assert told[1:] == [f"{tmp_path / 'none.jpg'}\tunreadable: No such file or directory"]


def test_predict_py_without_the_files_beside_it_says_so_in_a_line(tmp_path: Path, predict_py: Any) -> None:
    (tmp_path / "classes.json").unlink()

    code, shown, complaints = predict_py("a.jpg")

    assert (code, shown) == (2, "")
    assert complaints == (
        f"predict.py cannot start: [Errno 2] No such file or directory: '{tmp_path / 'classes.json'}'. It needs the "
        "packages numpy, pillow and torch, and the files that were exported with it.\n"
    )


def test_predict_py_answers_the_pictures_in_a_folder(tmp_path: Path, predict_py: Any) -> None:
    (tmp_path / "new" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / "notes.txt").write_text("no picture")
    paths = [saved(tmp_path / "new", "A.JPG", "RGB"), saved(tmp_path / "new" / "deep", "b.webp", "RGB")]

    assert predict_py(tmp_path / "new") == (0, "".join(f"{path}\tcat\t1.000\n" for path in paths), "")
    assert predict_py(tmp_path / "empty") == (2, "", f"{tmp_path / 'empty'}\tunreadable: no picture in it\n")


@pytest.mark.parametrize(("words", "code"), [((), 2), (("--size", "3"), 2), (("--help",), 0)])
def test_predict_py_shows_how_it_is_used(words: tuple[str, ...], code: int, predict_py: Any) -> None:
    end, shown, complaints = predict_py(*words)

    assert end == code
    assert (shown + complaints).startswith("usage: predict.py [-h] IMAGE [IMAGE ...]")


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize(
    ("name", "mode", "orientation"),
    [("a.jpg", "RGB", 6), ("b.png", "RGBA", 3), ("c.png", "L", 1), ("d.png", "I;16", 1), ("e.webp", "RGB", 8)],
)
def test_predict_py_sees_the_pixels_that_the_run_saw(
    tmp_path: Path, script: Callable[[str, int], Any], name: str, mode: str, orientation: int, fit: str
) -> None:
    path = saved(tmp_path, name, mode, orientation)

    apart = np.abs(script(fit, 24)(path).astype(int) - decode(path, 24, fit))

    assert apart.max() <= 1  # Pillow resizes there, and torch here where that is faster
    assert (apart > 0).mean() <= 0.01


# -------------------------------------------------------------------------------------------------- what is inside


def test_answers_are_those_of_predict_with_the_temperature_inside(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "lenet", 32)
    val = outputs(per_class=40, wrong=10)
    images = random_images(6, 3, 40, 28)
    classifier = load_classifier(run).eval()
    with torch.no_grad():
        features = classifier.features(images).numpy()
    bank = outputs(per_class=30, width=features.shape[1])
    noise = np.random.default_rng(0).normal(size=bank.features.shape).astype(np.float32)
    bank.features[:] = features.mean(axis=0) + noise
    limits = rejection.Rejection(160, rejection.fit(val).percentiles, 2.5, None, bank)

    with torch.no_grad():
        logits, probability, score, threshold, _ = Answering(classifier, limits).eval()(images)

    expected = answers(run, images)[1]
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(probability, (expected / 2.5).softmax(1), atol=1e-5)
    asked = outputs(per_class=1, labels=[0] * 6, width=features.shape[1])
    asked.features[:] = features
    assert np.allclose(score, limits.scores(asked), atol=1e-5)
    assert float(threshold) == pytest.approx(limits.threshold())


@pytest.mark.slow
def test_a_torch_program_answers_in_a_folder_of_its_own(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "lenet", 32)
    images = random_images(3, 3, 32, 32)

    path = transferkit.export(run, "torch-export", tmp_path / "out")

    assert {file.name for file in path.parent.iterdir()} >= FILES
    with torch.no_grad():
        logits = torch.export.load(path).module()(images)[0]
    assert torch.allclose(logits, answers(run, images)[1], atol=1e-4)
    assert json.loads((path.parent / "classes.json").read_text())["classes"] == list(run.model.class_names)


# ------------------------------------------------------------------------------------------------------------ 8 bits


def test_the_loss_of_a_smaller_form_is_paired_image_by_image() -> None:
    images = Images.from_pixels(np.zeros((40, 3, 4, 4), np.uint8), np.zeros(40, np.int64), ("a", "b"), tuple("x" * 40))

    loss = measure_loss(images, lambda batch: [np.tile([1.0, 0.0], (len(batch), 1))], last_four_wrong)

    assert loss.loss == pytest.approx(0.1)  # 4 of 40 that only the exact form gets right
    assert loss.interval.low < 0.1 < loss.interval.high


def last_four_wrong(batch: Pixels) -> list[npt.NDArray[np.float64]]:
    return [np.where(np.arange(len(batch))[:, None] < len(batch) - 4, [1.0, 0.0], [0.0, 1.0])]


def test_8_bits_that_may_cost_more_than_a_point_are_refused_unless_asked_for() -> None:
    loss = AccuracyLoss(0.004, Interval(-0.005, 0.013), 2_000)

    with pytest.raises(
        TransferkitError, match=r"cost 0\.40 points .* 2,000 val images .*-0\.50 to 1\.30.*--allow-loss"
    ):
        onnx_int8.require_small(loss, allowed=False)
    onnx_int8.require_small(loss, allowed=True)
    onnx_int8.require_small(AccuracyLoss(0.004, Interval(-0.002, 0.01), 2_000), allowed=False)


def test_8_bits_without_val_images_are_refused_unless_asked_for() -> None:
    with pytest.raises(TransferkitError, match=r"no val images, so that nobody knows what 8 bits cost"):
        onnx_int8.require_small(None, allowed=False)


def test_8_bits_that_are_no_faster_here_are_called_so() -> None:
    def ask(_: Pixels) -> None:
        sum(range(20_000))

    words = onnx_int8.speed_words(ask, lambda batch: (ask(batch), ask(batch)), np.zeros((2, 3, 4, 4), np.uint8))

    assert "on this machine 8 bits are no faster than fp32" in words
