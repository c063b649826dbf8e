"""A run's folder: what is in it, and how it is made and read without losing anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transferkit import recipe as recipes
from transferkit.metrics.history import History, read_history, write_history
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.results import Evaluation, read_evaluation, write_evaluation
from transferkit.models.stored_model import StoredModel, read_model, write_model
from transferkit.recipe.references import run_folder
from transferkit.runs import result_folders
from transferkit.runs.facts import FORMAT, RunFacts, read_facts, write_facts
from transferkit.runs.label_check import LabelCheck, read_label_check, write_label_check
from transferkit.runs.other_folders import no_run_words
from transferkit.runs.small_pictures import ByIndex, LabelPictures, PictureSheet, SmallPictures
from transferkit.runtime import folders
from transferkit.runtime.array_records import read_array_record, write_array_record
from transferkit.runtime.environment import Environment
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import (
    CHECKPOINT,
    REFIT_CHECKPOINT,
    write_json,
    write_tensors,
    write_text,
)
from transferkit.runtime.json_files import JsonObject
from transferkit.runtime.plurals import with_article
from transferkit.runtime.records import read_record, write_record

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.runtime.machine import Precision

KIND = "run"
LIMITS_FOLDER = "limits"
CONTINUED = "continued after an interruption: seconds and openings of the test set count from there"
RUN_FILES = (
    "evaluation.json",
    "recipe.yaml",
    "model.safetensors",
    "model.json",
    CHECKPOINT,
    REFIT_CHECKPOINT,
    "history.jsonl",
    "facts.json",
    "environment.json",
    "report.html",
    "report.md",
    "confusion.csv",
    "labels.json",
    "labels.csv",
)  # of a run from a version without manifests, like those below
OUTPUT_FILES = ("val", "test", "bank", "thumbnails", "explanations", "map", "label_pictures", "augmented")


@dataclass(frozen=True)
class Run:
    """The folder of one run; complete without the code that made it, no pickle anywhere.

    Files: recipe.yaml (resolved), model.safetensors and model.json, history.jsonl (one line per epoch, the
    start as epoch 0), outputs/<set>.safetensors (val, test, bank), outputs/thumbnails.safetensors,
    outputs/augmented.safetensors, outputs/explanations.safetensors,
    facts.json, evaluation.json, environment.json, report.html, report.md,
    confusion.csv; checkpoint.safetensors only while training is unfinished, failed-step.safetensors only
    where it stopped at a loss that is not finite.
    """

    path: Path

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "evaluation.json").exists()

    @property
    def has_page(self) -> bool:
        """Whether its report is complete; report.html is written last."""
        return (self.path / "report.html").exists()

    @property
    def exists(self) -> bool:
        """Whether this folder is a run at all."""
        return os.path.exists(self.path / "recipe.yaml")  # False for what can be no path, too

    @cached_property
    def recipe(self) -> recipes.Recipe:
        """The resolved recipe."""
        recipe = recipes.load(self.path / "recipe.yaml")
        if not isinstance(recipe, recipes.Recipe):
            kind = type(recipe).__name__.removesuffix("Recipe").lower()
            raise TransferkitError(f"{self.path / 'recipe.yaml'} is {with_article(kind)}, not the recipe of a run.")
        return recipe

    @cached_property
    def model(self) -> StoredModel:
        """What model.json says: class names, input, stages, weights, parameters."""
        return read_model(self.path)

    @cached_property
    def facts(self) -> RunFacts:
        """What facts.json says: command, started, seconds, notes, data, openings of the test set, parameter groups."""
        return read_facts(self.path)

    @cached_property
    def environment(self) -> Environment:
        """Versions, device, precision, threads."""
        return read_record(self.path / "environment.json", Environment)

    @property
    def precision(self) -> Precision:
        """In which its thresholds were made, so in which its network is asked; kept with the model."""
        precision = self.model.precision or self.environment.precision  # earlier versions: there alone
        return "bf16" if precision == "bf16" else "fp32"

    @cached_property
    def evaluation(self) -> Evaluation:
        """What evaluation.json says: every number of the report."""
        return read_evaluation(self.path)

    @property
    def history(self) -> History:
        """Every finished epoch, after the start as epoch 0; empty for a probe."""
        return read_history(self.path)

    def outputs(self, image_set: str) -> Outputs:
        """The stored outputs of `val`, of `test`, or of some train images to compare with: `bank`."""
        return Outputs.load(self.outputs_path(image_set))

    def stored_outputs(self, image_set: str) -> Outputs | None:
        """The same; None where none are stored."""
        return self.outputs(image_set) if self.outputs_path(image_set).exists() else None

    def outputs_path(self, image_set: str) -> Path:
        """Where the outputs of an image set are, if there are any."""
        return self.path / "outputs" / f"{image_set}.safetensors"

    @property
    def explanations_path(self) -> Path:
        """Where the nearest training images and the class-activation maps of the listed images are."""
        return self.path / "outputs" / "explanations.safetensors"

    @property
    def labels(self) -> LabelCheck | None:
        """What `transferkit labels` found: likely label errors and duplicates; None before it ran."""
        return read_label_check(self.path)

    @property
    def label_pictures_path(self) -> Path:
        """Where the pictures of likely label errors and duplicates are."""
        return self.path / "outputs" / "label_pictures.safetensors"

    def label_pictures(self) -> LabelPictures:
        """Small pictures of these images."""
        return read_array_record(self.label_pictures_path, LabelPictures, "pictures of label errors")

    @property
    def map_path(self) -> Path:
        """Where the places of the test images on the report's map are; made by the first report."""
        return self.path / "outputs" / "map.safetensors"

    @property
    def thumbnails_path(self) -> Path:
        """Where small pictures of some test images are."""
        return self.path / "outputs" / "thumbnails.safetensors"

    def thumbnails(self) -> ByIndex:
        """Small pictures (3, h, w) of some test images, by their position in the test outputs; may be empty."""
        if not self.thumbnails_path.exists():
            return {}
        return read_array_record(self.thumbnails_path, SmallPictures, "pictures").by_index

    def write_thumbnails(self, indices: npt.NDArray[np.int64], pixels: npt.NDArray[np.uint8]) -> None:
        """Keep pictures (M, 3, h, w) of the test images at `indices`."""
        write_array_record(self.thumbnails_path, SmallPictures(indices, pixels))

    def augmented(self) -> npt.NDArray[np.uint8] | None:
        """A sheet (3, h, w) of training images and augmented copies; None where training took no steps."""
        path = self.path / "outputs" / "augmented.safetensors"
        return read_array_record(path, PictureSheet, "examples").pixels if path.exists() else None

    def write_augmented(self, sheet: npt.NDArray[np.uint8]) -> None:
        """Keep that sheet."""
        write_array_record(self.path / "outputs" / "augmented.safetensors", PictureSheet(sheet))

    def save_outputs(self, outputs: Mapping[str, Outputs | None]) -> None:
        """Keep the outputs of each image set that there is."""
        for name, value in outputs.items():
            if value is not None:
                value.save(self.outputs_path(name))

    def remove_checkpoint(self) -> None:
        """A finished run needs no state to go on from, nor the step at which an earlier attempt failed."""
        for name in (CHECKPOINT, REFIT_CHECKPOINT, "failed-step.safetensors"):
            (self.path / name).unlink(missing_ok=True)

    def write_history(self, history: History) -> None:
        """The log of all finished epochs."""
        write_history(self.path, history)

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Every number of the report; with it the run is finished."""
        write_evaluation(self.path, evaluation)

    def write_model(self, model: StoredModel) -> None:
        """The network besides its tensors."""
        write_model(self.path, model)

    def write_adapter(self, change: Mapping[str, Tensor], recipe: recipes.Recipe) -> None:
        """What an adapter changed, with the backbone that it goes with."""
        backbone = recipe.backbone
        facts: JsonObject = {"backbone": backbone.name, "weights": backbone.weights, "size": recipe.input_px}
        write_tensors(self.path / "adapter.safetensors", change, facts)

    def write_facts(self, facts: RunFacts) -> None:
        """How the run was made."""
        write_facts(self.path, facts)

    def write_environment(self, environment: Environment) -> None:
        """Versions, device, precision, threads."""
        write_record(self.path / "environment.json", environment)

    def write_labels(self, check: LabelCheck) -> None:
        """What a check of its labels found."""
        write_label_check(self.path, check)

    def write_json(self, name: str, value: Any) -> None:
        """One of the JSON files."""
        write_json(self.path / f"{name}.json", value)

    def write_recipe(self, recipe: recipes.Recipe) -> None:
        """The resolved recipe, with the command that runs it again."""
        header = f"# transferkit run {self.path / 'recipe.yaml'} --out ANOTHER_FOLDER\n"
        write_text(self.path / "recipe.yaml", header + recipe.to_yaml())


def open_run(path: os.PathLike[str] | str | Run) -> Run:
    """A finished run, from its folder, from @last or @2, or from what `finetune`, `probe` or `scratch` returned.

    Raises:
        TransferkitError: If there is none at `path`, it is unfinished, or a newer version wrote it.
    """
    place = path.path if isinstance(path, Run) else path
    if not isinstance(place, str | os.PathLike):
        raise TransferkitError(
            f"An object of type {type(path).__name__} is no run. Expected a run's folder, or what finetune, probe or "
            "scratch returned."
        )
    run = Run(run_folder(place))
    if not run.exists:
        raise TransferkitError(no_run_words(run.path))
    if not run.is_finished:
        raise TransferkitError(f"The run {path} did not finish. Continue it with the same command and --resume.")
    if run.facts.format > FORMAT:
        raise TransferkitError(f"A newer transferkit wrote {path}. Upgrade with: pip install --upgrade transferkit")
    return run


@contextmanager
def claim(path: Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Run]:
    """A folder to write a run to, checked before any work; inside, no other process works in it.

    It may hold a finished run: whether that is the run to be made is for `same_work` to say.

    Raises:
        TransferkitError: If the folder holds something that would be lost, or another process works in it.
    """
    require_free(Run(path), overwrite, resume)
    with hold_run(Run(path)):
        require_free(Run(path), overwrite, resume)  # another process may have ended meanwhile
        yield Run(path)


def hold_run(run: Run) -> AbstractContextManager[None]:
    """Inside, this process alone works in the run's folder; what it writes there is listed in the manifest.

    Raises:
        TransferkitError: If the folder holds something else, or another process works in it.
    """
    older = older_files(run)
    folders.require_kind(run.path, KIND, is_older=bool(older))
    return folders.hold(run.path, KIND, older)


def require_free(run: Run, overwrite: bool, resume: bool) -> None:
    """Refuse a folder that holds anything else than a run, one in use, or an unfinished one not to be gone on with.

    Raises:
        TransferkitError: Says how to go on.
    """
    path = run.path
    folders.require_kind(path, KIND, is_older=bool(older_files(run)))
    folders.require_idle(path)
    if run.exists and not run.is_finished and not (overwrite or resume):
        raise TransferkitError(
            f"{path} holds an unfinished run. Continue it with --resume, or start again with --overwrite."
        )


def older_files(run: Run) -> list[str]:
    """What a version that wrote no manifest left of a run, as relative paths, what is written first first.

    None where there is a manifest, and none unless recipe, model and history tell the same story: a folder with files
    of these everyday names may be anything.
    """
    if folders.kind_of(run.path) is not None or not run.is_finished or not _is_consistent(run):
        return []
    paths = [run.path / name for name in reversed(RUN_FILES)]
    paths += [run.path / "outputs" / f"{name}.safetensors" for name in OUTPUT_FILES]
    if run.recipe.track == "tensorboard":
        paths += (run.path / "tensorboard").glob("events.out.tfevents.*")
    return [path.relative_to(run.path).as_posix() for path in paths if path.exists()]


def _is_consistent(run: Run) -> bool:
    """Whether recipe.yaml, model.json and history.jsonl are of one run."""
    try:
        epochs = [epoch.epoch for epoch in run.history]
        is_trained = run.recipe.method.trains_by_steps
        is_same = run.model.backbone == run.recipe.backbone
        follow = epochs == list(range(min(epochs, default=0), min(epochs, default=0) + len(epochs)))
        return is_same and follow and bool(epochs) == is_trained
    except TransferkitError:
        return False


def prepare_run_folder(run: Run, recipe: recipes.Recipe, *, resume: bool) -> tuple[str, ...]:
    """Write the resolved recipe; without `resume`, what an earlier run left there is removed.

    Returns:
        What the report must say of it.

    Raises:
        TransferkitError: If the unfinished run to continue has another recipe.
    """
    if run.exists and resume:
        _require_same_recipe(run, recipe)
        return (CONTINUED,)
    with hold_run(run):
        _remove_files(run)
        run.write_recipe(recipe)
    return ()


def _require_same_recipe(run: Run, recipe: recipes.Recipe) -> None:
    """On as many devices as one likes.

    Raises:
        TransferkitError: Names the first key that differs.
    """
    begun = recipes.load(run.path / "recipe.yaml")
    if begun == recipe.model_copy(update={"devices": getattr(begun, "devices", 1)}):
        return
    then, now = ({key: value for key, value, _ in part.each_key()} for part in (begun, recipe))
    differ = [key for key in {**then, **now} if then.get(key) != now.get(key) and key != "devices"]
    raise TransferkitError(
        f"{run.path} holds an unfinished run with {differ[0]}={then.get(differ[0])}, and "
        f"{differ[0]}={now.get(differ[0])} is asked for. Choose another folder with --out, or start again with "
        "--overwrite."
    )


def remove_run(run: Run) -> None:
    """Remove what a run wrote, and nothing else that lies in its folder."""
    with hold_run(run):
        _remove_files(run)


def _remove_files(run: Run) -> None:
    """What manifests list of a run and of the limits report in it, which speaks of the removed model."""
    report = run.path / LIMITS_FOLDER
    if folders.kind_of(report) == result_folders.LIMITS.name:
        with result_folders.hold_results(report, result_folders.LIMITS):
            folders.remove(report)
    folders.remove(run.path)
