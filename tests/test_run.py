"""The whole machine on small data: what a run leaves behind, and what it refuses."""

from __future__ import annotations

import importlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_recipe import digits
from PIL import Image
from sklearn.linear_model import LogisticRegression

import transferkit
from transferkit.data import datasets
from transferkit.deploy.prediction import limits_of
from transferkit.features import engine
from transferkit.features.layer_network import LayerNetwork
from transferkit.metrics.outputs import Outputs
from transferkit.recipe import BackboneSettings, FinetuneSettings, from_options
from transferkit.run import resolved, run, run_alone
from transferkit.runs import run_directory
from transferkit.runs.facts import SettledRates
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime import files as checkpoint
from transferkit.runtime import folders
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.training import checkpoint as state
from transferkit.training import defaults, estimates, train
from transferkit.training.methods import probe_heads

run_module = importlib.import_module("transferkit.run")  # in the package, `run` is the function
FILES = {
    ".transferkit.jsonl",
    ".transferkit.lock",
    "recipe.yaml",
    "model.safetensors",
    "model.json",
    "history.jsonl",
    "outputs",
    "facts.json",
    "evaluation.json",
    "environment.json",
    "report.html",
    "report.md",
    "confusion.csv",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(
        digits(), tmp_path_factory.mktemp("runs") / "finished", console=SILENT, command="transferkit finetune resnet20"
    )


def test_a_run_leaves_its_files_and_no_temporary_ones(finished: Run) -> None:
    assert {path.name for path in finished.path.iterdir()} == FILES
    assert {path.name for path in (finished.path / "outputs").iterdir()} == {
        "val.safetensors",
        "bank.safetensors",
        "test.safetensors",
        "thumbnails.safetensors",
        "augmented.safetensors",
        "explanations.safetensors",
        "map.safetensors",
    }


def test_the_resolved_recipe_has_no_open_default(finished: Run) -> None:
    method = finished.recipe.method

    assert isinstance(method, FinetuneSettings)
    assert method.size == 8  # the side of a digit, as resnet20 sees small images as they are
    assert [method.batch_size, method.flip, method.ema, method.schedule] == [32, False, True, "cosine"]
    # settled when the start was chosen; random weights have no statistics to keep
    assert finished.facts.rates == SettledRates(
        batchnorm="train",
        optimizer="sgd",
        lr=0.03,
        head_lr=0.03,
        weight_decay=5e-4,
        clip_norm=0.0,
        head_scale=0.3,
        layer_decay=1.0,
    )


def test_running_the_resolved_recipe_again_gives_the_same_test_outputs(finished: Run, tmp_path: Path) -> None:
    again = run(finished.recipe, tmp_path / "again", console=SILENT)

    assert np.array_equal(again.outputs("test").logits, finished.outputs("test").logits)


def test_the_test_set_is_opened_once_and_counted(finished: Run) -> None:
    assert finished.facts.test_openings == 1


def test_the_reported_accuracy_is_that_of_the_stored_outputs(finished: Run) -> None:
    outputs = finished.outputs("test")

    accuracy = float((outputs.logits.argmax(1) == outputs.labels).mean())
    assert finished.evaluation.test.accuracy == pytest.approx(accuracy)
    assert finished.evaluation.test.n == 179


def test_stored_outputs_hold_the_heads_input(finished: Run) -> None:
    outputs = finished.outputs("test")
    tensors, _ = checkpoint.read_tensors(finished.path / "model.safetensors")

    logits = outputs.features @ tensors["head.weight"].numpy().T + tensors["head.bias"].numpy()
    assert np.allclose(logits, outputs.logits, atol=1e-4)


def test_a_loaded_run_predicts_what_the_run_predicted(finished: Run) -> None:
    outputs = finished.outputs("test")
    from transferkit.data import datasets

    images = datasets.load(finished.recipe.data, SILENT).test.open()
    predictions = transferkit.load(finished.path, device="cpu").predict(images)

    names = [finished.model.class_names[index] for index in outputs.predictions]
    assert [prediction.name for prediction in predictions] == names
    assert sum(predictions[0].probabilities.values()) == pytest.approx(1.0)
    distances = limits_of(finished).scores(outputs)
    assert {prediction.score_name for prediction in predictions} == {"knn"}
    assert [prediction.score for prediction in predictions] == pytest.approx(distances, abs=1e-5)


def test_prediction_takes_paths_pil_images_and_arrays_alike(finished: Run, tmp_path: Path) -> None:
    model = transferkit.load(finished.path, device="cpu")
    array = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "image.png")

    from_path, from_image, from_array = (
        model.predict(each)[0].probability for each in (tmp_path / "image.png", Image.fromarray(array), array)
    )

    assert from_path == from_image == from_array


def test_lp_ft_starts_at_the_answers_of_its_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    plain = train

    def train_after_a_look(classifier, images, val, *rest):  # type: ignore[no-untyped-def]
        with torch.inference_mode():
            features, judged = (classifier.eval().features(torch.from_numpy(part.pixels)) for part in (images, val))
            answers = classifier.head(judged).argmax(1)
        parts.append((features.numpy(), images.labels, judged.numpy(), answers.numpy()))
        return plain(classifier, images, val, *rest)

    monkeypatch.setattr("transferkit.training.methods.finetune.train", train_after_a_look)
    tuned = run(digits(limit_per_class=40, refit=False), tmp_path / "tuned", console=SILENT)

    features, labels, judged, answers = parts[0]
    scale = np.sqrt(features.astype(np.float64).var(axis=0).mean())  # one for all features
    oracle = LogisticRegression(C=tuned.facts.probe.C, tol=1e-8, max_iter=10_000).fit(features / scale, labels)
    np.testing.assert_array_equal(answers, oracle.predict(judged / scale))


def test_c_is_chosen_by_cross_validation_where_val_is_small(finished: Run) -> None:
    assert finished.facts.probe.chosen_by == "5-fold cross-validation"


def test_a_probe_leaves_the_backbone_bit_for_bit(tmp_path: Path) -> None:
    source = run(digits("scratch", "resnet20", epochs=1), tmp_path / "source", console=SILENT)

    probed = run(digits("probe", "resnet20", weights=str(source.path)), tmp_path / "probed", console=SILENT)

    before, _ = checkpoint.read_tensors(source.path / "model.safetensors")
    after, _ = checkpoint.read_tensors(probed.path / "model.safetensors")
    body = [name for name in before if name.startswith("body.")]
    assert len(body) > 100
    assert all(torch.equal(before[name], after[name]) for name in body)
    assert probed.model.weights is not None
    assert probed.model.weights.source == "run"


def test_a_probes_val_outputs_come_from_a_head_that_has_not_seen_val(tmp_path: Path) -> None:
    probed = run(digits("probe"), tmp_path / "probed", console=SILENT)

    tensors, _ = checkpoint.read_tensors(probed.path / "model.safetensors")
    val = probed.outputs("val")
    final = val.features @ tensors["head.weight"].numpy().T + tensors["head.bias"].numpy()
    assert not np.allclose(final, val.logits, atol=1e-2)


def test_a_finished_run_is_no_answer_where_a_key_of_it_is_no_longer_asked_for(finished: Run) -> None:
    open_keys = {"method": digits().method.model_copy(update={"epochs": None})}

    with pytest.raises(
        TransferkitError, match=r"with method.epochs=2, and no method.epochs is asked for\. Choose anoth"
    ):
        run(digits().model_copy(update=open_keys), finished.path, console=SILENT)


def test_a_finished_run_answers_its_own_recipe_with_every_default_written_out(finished: Run) -> None:
    before = (finished.path / "evaluation.json").stat().st_mtime_ns

    run(finished.recipe, finished.path, console=SILENT)

    assert (finished.path / "evaluation.json").stat().st_mtime_ns == before


def test_a_folder_with_other_files_is_never_written_to_even_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    with pytest.raises(TransferkitError, match="holds other files and is no run"):
        run(digits(), tmp_path, overwrite=True, console=SILENT)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_overwrite_keeps_the_old_run_until_data_and_weights_are_loaded(finished: Run) -> None:
    with pytest.raises(TransferkitError, match="no-such-file"):
        run(digits(weights="no-such-file.pth"), finished.path, overwrite=True, console=SILENT)

    assert open_run(finished.path).is_finished


def test_an_interrupted_run_resumes_to_the_same_outputs(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = state.save

    def save_then_stop(training: state.Training, folder: Path | None) -> None:
        save(training, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        run(digits(), tmp_path / "run", console=SILENT)
    monkeypatch.setattr(state, "save", save)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    resumed = run(digits(), tmp_path / "run", resume=True, console=SILENT)

    assert np.array_equal(resumed.outputs("test").logits, finished.outputs("test").logits)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert run_directory.CONTINUED in resumed.facts.notes
    assert run_directory.CONTINUED not in finished.facts.notes


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    run_directory.prepare_run_folder(Run(tmp_path / "run"), digits(), resume=False)

    with pytest.raises(TransferkitError, match=r"holds an unfinished run. Continue it with --resume"):
        run(digits(), tmp_path / "run", console=SILENT)


def test_an_unfinished_run_is_refused_before_its_cost_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_directory.prepare_run_folder(Run(tmp_path / "run"), digits(), resume=False)
    monkeypatch.setattr(estimates, "before_run", lambda *_: pytest.fail("it was timed"))

    with pytest.raises(TransferkitError, match=r"holds an unfinished run\. Continue it with --resume"):
        run_alone(digits(), tmp_path / "run", overwrite=False, resume=False, console=SILENT, command="")


def test_resuming_with_another_recipe_is_refused_and_names_the_first_key_that_differs(tmp_path: Path) -> None:
    complete, _ = resolved(digits(), datasets.load(digits().data, SILENT))
    begun = complete.model_copy(update={"seed": 5, "threads": 1})
    run_directory.prepare_run_folder(Run(tmp_path / "run"), begun, resume=False)

    with pytest.raises(TransferkitError, match=r"holds an unfinished run with seed=5, and seed=0 is asked for\."):
        run(digits(), tmp_path / "run", resume=True, console=SILENT)


def test_a_full_disk_is_one_message_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "replace", full)
    with pytest.raises(MachineError, match=r"the disk is full. Free some space, or choose another folder with --out"):
        checkpoint.write_text(tmp_path / "file.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_outputs_survive_a_round_trip(tmp_path: Path) -> None:
    outputs = Outputs(
        np.ones((2, 3), np.float32), np.eye(2, dtype=np.float32), np.array([0, 1]), ("a", "ü"), ("x", "<y>")
    )

    outputs.save(tmp_path / "outputs.safetensors")

    loaded = Outputs.load(tmp_path / "outputs.safetensors")
    assert loaded.ids == ("a", "ü")
    assert loaded.class_names == ("x", "<y>")
    assert np.array_equal(loaded.logits, outputs.logits)


def test_history_has_a_line_for_the_start_and_one_per_epoch(finished: Run) -> None:
    records = [json.loads(line) for line in (finished.path / "history.jsonl").read_text().splitlines()]

    told = [(record["epoch"], record["val_accuracy"] is not None) for record in records]
    assert told == [(0, True), (1, True), (2, True), (3, False), (4, False)]  # twice two epochs, the second with val


def test_defaults_follow_the_family() -> None:
    vgg = from_options("finetune", "vgg16_bn", "cifar10", {"epochs": 3}, ())

    method = defaults.resolved(vgg, 45_000, 32).method

    assert isinstance(method, FinetuneSettings)
    assert (method.batch_size, method.epochs, method.ema, method.flip, method.refit) == (128, 3, True, True, False)


def test_a_network_from_scratch_gets_a_stem_for_small_images_at_their_own_size() -> None:
    resolved = defaults.resolved(from_options("scratch", "resnet18", "cifar10", {}, ()), 45_000, 32)

    assert (resolved.backbone.stem, resolved.backbone.weights, resolved.method.size) == ("cifar", "none", 32)


def test_a_resnet_of_timm_from_scratch_keeps_the_only_stem_it_has() -> None:
    recipe = from_options("scratch", "timm/resnet18", "cifar10", {}, ())

    assert defaults.resolved(recipe, 45_000, 32).backbone.stem == "imagenet"


@pytest.mark.parametrize(("labels", "fits"), [(8, 7), (60, 7)], ids=["few for val", "enough on val"])
def test_no_head_of_a_probe_is_fitted_twice(
    labels: int, fits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One head that val has not seen, one that has seen everything, and five that have each left images out."""
    fitted = []
    fit = probe_heads.fit_chosen
    monkeypatch.setattr(probe_heads, "fit_chosen", lambda *data, **how: fitted.append(data) or fit(*data, **how))
    monkeypatch.setattr(probe_heads, "FEWEST_TO_CHOOSE", 50)

    run(digits("probe", limit_per_class=labels), tmp_path / "probed", console=SILENT)

    assert len(fitted) == fits


# ---- whose files ----


def test_a_recipe_of_ones_own_beside_other_files_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"recipe.yaml": "method: probe", "labels.csv": "a,b", "report.md": "# mine"}
    for name, text in mine.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(TransferkitError, match="holds other files and is no run"):
        run(digits(), Path(), overwrite=True, console=SILENT)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == mine


def test_a_run_from_before_the_manifest_is_one_if_its_files_agree(finished: Run, tmp_path: Path) -> None:
    older = Run(shutil.copytree(finished.path, tmp_path / "older"))
    (older.path / ".transferkit.jsonl").unlink()
    (older.path / "notes.txt").write_text("mine")

    files = run_directory.older_files(older)
    older.write_model(replace(older.model, backbone=BackboneSettings(name="resnet50")))

    assert set(files) == set(folders.files_of(finished.path)) - {
        "checkpoint.safetensors",
        "checkpoint-refit.safetensors",
    }
    assert run_directory.older_files(Run(older.path)) == []


def test_overwrite_leaves_what_others_put_into_a_run(finished: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    (copy.path / "labels.csv").write_text("mine")

    run_directory.prepare_run_folder(copy, copy.recipe, resume=False)

    assert {path.name for path in copy.path.iterdir()} == {
        ".transferkit.jsonl",
        ".transferkit.lock",
        "recipe.yaml",
        "labels.csv",
    }


def test_the_same_command_builds_the_page_of_a_run_that_was_stopped_before_it(finished: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(finished.path, tmp_path / "finished"))
    before = (copy.path / "report.html").read_text()
    (copy.path / "report.html").unlink()

    run(digits(), copy.path, console=SILENT)

    assert (copy.path / "report.html").read_text() == before


@pytest.mark.parametrize("resume", [True, False])
def test_a_finished_run_that_is_asked_for_again_stays_as_it_is(finished: Run, tmp_path: Path, resume: bool) -> None:
    copy = Run(shutil.copytree(finished.path, tmp_path / "finished"))
    before = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*") if path.is_file()}
    stream = io.StringIO()

    done = run(digits(), copy.path, resume=resume, console=Console(stream=stream))

    assert done.evaluation == finished.evaluation
    assert stream.getvalue().startswith(f"{copy.path} has this already, finished on 20")
    assert "nothing is computed again. Add --overwrite to make it anew" in stream.getvalue()
    assert {path: path.stat().st_mtime_ns for path in copy.path.rglob("*") if path.is_file()} == {
        **before,
        **{path: path.stat().st_mtime_ns for path in before if path.name == ".transferkit.lock"},
    }


def test_resume_of_a_finished_run_of_another_recipe_names_the_key(finished: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(finished.path, tmp_path / "finished"))
    other = digits().model_copy(update={"seed": digits().seed + 1})

    with pytest.raises(TransferkitError, match=r"holds a finished run with seed=\d+, and seed=\d+ is asked for"):
        run(other, copy.path, resume=True, console=SILENT)


# ---- what a run can do without ----


def refuse(*_: object, **__: object) -> None:
    raise RuntimeError("Expected gradient function to be set\nand more")


@pytest.mark.parametrize(
    ("work", "name"),
    [("costs", "costs"), ("explain", "explanations"), ("thumbnails", "pictures of test images")],
)
def test_a_fault_in_what_a_run_can_do_without_is_a_note_and_the_run_is_finished(
    work: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_module, work, refuse)
    stream = io.StringIO()

    done = run(digits(epochs=1), tmp_path / "run", console=Console(stream=stream))

    note = f"no {name}: RuntimeError: Expected gradient function to be set. Model, outputs and scores are complete."
    assert note in stream.getvalue()
    assert note in done.facts.notes
    assert note in (done.path / "report.md").read_text()
    assert done.is_finished
    assert len(done.outputs("bank")) == done.facts.data.n.train
    assert transferkit.load(done.path, device="cpu").rejection is not None


def test_a_page_that_fails_is_told_with_what_to_type_and_resume_writes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(run_module.report, "write", refuse)
        done = run(digits(epochs=1), tmp_path / "run", console=Console(stream=stream))

    assert f"no page; `transferkit report {tmp_path / 'run'}` tries again: RuntimeError" in stream.getvalue()
    assert done.is_finished
    assert not done.has_page
    run(digits(epochs=1), tmp_path / "run", resume=True, console=SILENT)
    assert done.has_page


@pytest.mark.slow
@pytest.mark.parametrize("work", ["outputs_of", "evaluate"])
def test_a_fault_after_training_leaves_the_model_and_resume_does_not_train_again(
    work: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_module, work, refuse)
    with pytest.raises(RuntimeError, match="Expected gradient function"):
        run(digits(backbone="resnet20", epochs=1), tmp_path / "run", console=SILENT)
    monkeypatch.undo()
    trained, _ = checkpoint.read_tensors(tmp_path / "run" / "model.safetensors")

    monkeypatch.setattr("transferkit.training.loop.run_epoch", refuse)
    again = run(digits(backbone="resnet20", epochs=1), tmp_path / "run", resume=True, console=SILENT)

    tensors, _ = checkpoint.read_tensors(again.path / "model.safetensors")
    assert again.is_finished
    assert len(tensors) > 60
    assert all(torch.equal(value, trained[name]) for name, value in tensors.items())


def test_memory_that_does_not_hold_a_batch_is_told_once_and_stands_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU would say it, for more than 20 images; batches of 64 and more become 16 or 20."""
    monkeypatch.setattr(engine, "FITTING", {})
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))  # no features of another test
    enough, told = LayerNetwork.of_prepared, io.StringIO()

    def scarce(network: LayerNetwork, prepared: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(prepared) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return enough(network, prepared)

    monkeypatch.setattr(LayerNetwork, "of_prepared", scarce)
    finished = run(digits("probe", "resnet20"), tmp_path / "run", console=Console(stream=told))

    (fitting,) = engine.FITTING.values()
    line = f"resnet20 at 8 px saw at most {fitting} images at a time: the memory of cpu held no more"
    assert fitting <= 20
    assert told.getvalue().count(f": {fitting} at a time from here on.") == 1
    assert line in finished.facts.notes
    assert line in (finished.path / "report.md").read_text(encoding="utf-8")
