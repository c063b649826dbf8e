"""A recipe on images in memory as a scikit-learn classifier: the methods, defaults and checks of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from safetensors import torch as safetensors
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from transferkit.data.images import Images, Labels, Pixels, Splits
from transferkit.data.reading import as_reading
from transferkit.data.splitting import split
from transferkit.features.data_arguments import pixels_of, reading_for, storage_px
from transferkit.features.fast_classifier import FastClassifier
from transferkit.features.finite import require_finite_logits
from transferkit.features.pictures import as_pictures
from transferkit.models.classifier import Classifier
from transferkit.models.description import describe
from transferkit.models.stored_model import StoredModel
from transferkit.recipe import (
    BACKBONE_MODELS,
    METHOD_MODELS,
    BackboneSettings,
    Recipe,
    RecipePart,
    from_options,
    of_method,
)
from transferkit.run import fit_network
from transferkit.runs.stored_classifier import rebuild_classifier
from transferkit.runtime import machine
from transferkit.runtime.argument_types import in_python_words
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import as_json, from_json

IN_MEMORY = "arrays:in-memory"  # where the recipe would name its images; nothing is read from there
KEYS_OF_ALL = ("seed", "device", "precision", "val_fraction", "split_seed")
OWN = ("backbone", "method", "resize", "verbose")


def setting_names() -> tuple[str, ...]:
    """Every key of a recipe that an estimator takes: those of the methods, of backbones, and of a few more."""
    models: tuple[type[RecipePart], ...] = (*METHOD_MODELS.values(), BackboneSettings, *BACKBONE_MODELS.values())
    names = [name for model in models for name in model.model_fields if name != "name"]
    return tuple(dict.fromkeys((*names, *KEYS_OF_ALL)))


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A backbone that is probed, fine-tuned or trained from scratch on images in memory, as a scikit-learn classifier.

    `fit` and `predict` take a uint8 array (N, H, W, 3) or (N, 3, H, W), a list of paths, PIL images or arrays of one
    size, `Images`, a folder's path, or a table's column of paths. Network, defaults and training are those of
    `transferkit.finetune`; a tenth of the images is val, where the method needs one. No test set is set apart: scores
    on other images are the caller's, as everywhere in scikit-learn. Nothing is written but features in the cache.

    Attributes:
        classes_: The labels, sorted.
        network_: The trained `Classifier`, a torch module.
        recipe_: The recipe with every default written out.
        storage_px_: Side at which files are decoded before the network resizes them.

    Example:
        >>> import numpy as np
        >>> dark, bright = np.zeros((8, 16, 16, 3), np.uint8), np.full((8, 16, 16, 3), 200, np.uint8)
        >>> images, labels = np.concatenate([dark, bright]), ["night"] * 8 + ["day"] * 8
        >>> model = TransferClassifier("resnet-mini", method="probe", weights="none", size=16).fit(images, labels)
        >>> model.predict(images[[0, -1]]).tolist()
        ['night', 'day']
    """

    classes_: npt.NDArray[Any]
    network_: Classifier
    recipe_: Recipe
    storage_px_: int

    def __init__(
        self,
        backbone: str = "resnet18",
        *,
        method: str = "probe",
        resize: Literal["squash", "crop"] = "squash",
        verbose: bool = False,
        **settings: Any,
    ) -> None:
        """Keep the settings; they are looked at in `fit`.

        Args:
            backbone: As on the command line: resnet18, vgg16_bn, timm/<name> ...
            method: finetune, probe or scratch.
            resize: How rectangular files become square: squash, or crop the middle.
            verbose: Show progress and choices on stderr.
            **settings: Keys of the recipe: `epochs=3, size=64, weights="none", seed=1` ...; None leaves one open. All
                are parameters for `get_params`, `set_params` and a grid search.

        Raises:
            TransferkitError: If there is no such key.
        """
        known = setting_names()
        if unknown := [name for name in settings if name not in known]:
            raise TransferkitError(
                f"TransferClassifier: unknown key {quoted(unknown[0])}. {did_you_mean(unknown[0], (*OWN, *known))}"
            )
        self.backbone = backbone
        self.method = method
        self.resize = resize
        self.verbose = verbose
        for name in known:
            setattr(self, name, settings.get(name))

    @in_python_words()
    def fit(self, X: Any, y: Any) -> TransferClassifier:
        """Carry out the recipe on these images.

        Args:
            X: N images.
            y: N labels of any kind that scikit-learn takes for classes.

        Raises:
            TransferkitError: For wrong settings or images; says what was expected.
            ValueError: If the labels are no classes.
        """
        recipe = self._recipe()
        reading = reading_for(X, self.resize)
        side_px = storage_px(X, reading)
        pixels = pixels_of(X, side_px, reading)
        classes, numbers = _classes(y, len(pixels))
        console = Console(quiet=not self.verbose)
        with machine.seeded(recipe.seed):
            splits = _splits(recipe, pixels, numbers, classes)
            network, complete = fit_network(recipe, splits, console)
        self.classes_, self.storage_px_ = classes, side_px
        self.network_, self.recipe_ = network, complete
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The likeliest label of each image, (N,)."""
        likeliest = self._logits(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[likeliest]
        return labels

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """The softmax of the logits, (N, C), along `classes_`."""
        shares: npt.NDArray[np.float64] = softmax(self._logits(X), axis=1)
        return shares

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """The logits, (N, C); of two classes (N,), how far the second one is ahead of the first."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _logits(self, X: Any) -> npt.NDArray[np.float64]:
        check_is_fitted(self)
        bands = len(self.network_.input_spec.mean)
        pictures = as_pictures(X, self.storage_px_, replace(as_reading(self.resize), channels=bands))
        runtime = machine.as_found(self.recipe_.device, self.recipe_.precision)
        network = FastClassifier(self.network_.to(runtime.device), runtime, SILENT)
        _, logits = network.answers(pictures)
        require_finite_logits(logits, tuple(pictures.ids))
        return logits.astype(np.float64)

    def _recipe(self) -> Recipe:
        """The recipe that the settings mean, on images that are no files.

        Raises:
            TransferkitError: For all mistakes at once.
        """
        of_method(METHOD_MODELS, self.method)
        options = {name: getattr(self, name) for name in setting_names()}
        return from_options(self.method, self.backbone, IN_MEMORY, options, ())

    def __getstate__(self) -> dict[str, Any]:
        """Settings, and of a fitted one the weights as safetensors bytes: no code of others enters a pickle."""
        state = dict(super().__getstate__())
        if network := state.pop("network_", None):
            tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
            state["recipe_"] = self.recipe_.to_yaml()
            state["stored_network"] = (
                as_json(describe(network, self.recipe_.backbone)),
                safetensors.save(tensors),
            )
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        if stored := state.pop("stored_network", None):
            facts, weights = stored
            model = from_json(facts, StoredModel, "the pickle")
            with machine.seeded(0):  # a network is built with random weights first
                state["network_"] = rebuild_classifier(model, safetensors.load(weights), "in a pickle").eval()
            state["recipe_"] = Recipe.from_yaml(state["recipe_"])
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False  # images, not rows of numbers
        tags.input_tags.string = True  # paths
        return tags


def _signature() -> inspect.Signature:
    """That of `__init__` with every key of a recipe spelt out: scikit-learn reads an estimator's parameters there."""
    written = inspect.signature(TransferClassifier.__init__)
    own = [part for part in written.parameters.values() if part.kind is not inspect.Parameter.VAR_KEYWORD]
    keys = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in setting_names()]
    return written.replace(parameters=[*own, *keys])


setattr(TransferClassifier.__init__, "__signature__", _signature())  # noqa: B010 - a function's type has none


def _classes(y: Any, count: int) -> tuple[npt.NDArray[Any], Labels]:
    """The sorted labels, and the number of each image's label among them.

    Raises:
        TransferkitError: If there is not one label per image.
        ValueError: If they are no classes.
    """
    labels = np.asarray(y)
    if labels.shape not in ((count,), (count, 1)):
        raise TransferkitError(
            f"Labels of shape {labels.shape} for {counted(count, 'image')}. Expected one per image, ({count},)."
        )
    check_classification_targets(labels)
    classes, numbers = np.unique(labels.reshape(-1), return_inverse=True)
    return classes, numbers.astype(np.int64)


def _splits(recipe: Recipe, pixels: Pixels, numbers: Labels, classes: npt.NDArray[Any]) -> Splits:
    """Train and val as the recipe carves them; nothing is set apart for test."""
    pool = replace(Images.from_pixels(pixels, numbers, [str(label) for label in classes]), origin="images in memory")
    data = recipe.data
    return split(pool, pool.subset([]), val_fraction=data.val_fraction, limit_per_class=None, seed=data.carving_seed)
