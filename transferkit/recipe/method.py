"""The keys of each method."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from transferkit.recipe import budget as budgets
from transferkit.recipe.augmentation import Augment
from transferkit.recipe.menu import ChosenFrom
from transferkit.recipe.settings import LARGEST_BATCH, LARGEST_PX, MOST_EPOCHS, RecipePart
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted

_Entry = TypeVar("_Entry")

LINEAR = ("linear", "raw-pixels")
SIZE_OF_WEIGHTS = "what the weights were made for; at most 128 where images have up to 64"
PROBE_KEYS = {
    "sweep": LINEAR,
    "C": LINEAR,
    "class_weight": LINEAR,
    "k": ("knn",),
    "layers": ("linear",),
    "last_stages": ("linear",),
}


class MethodSettings(RecipePart):
    """What the keys of every method have in common, and what a method declares for all that need to know it.

    Attributes:
        module: Dotted name of the module that carries it out, see `training.methods`.
        about: What its command does.
        subject: The beginning of a sentence about a model; {} is the backbone.
        noun: What it is called at the beginning of a sentence.
        fit_name: What its training is called there.
        starts_from_pretrained: Whether it makes use of the backbone's weights; else they are random.
        trains_by_steps: Whether it trains by gradient steps; then its keys are `TrainingSettings`.
        keeps_body: Whether the head alone learns, so that the body is as it was.
    """

    module: ClassVar[str]
    about: ClassVar[str]
    subject: ClassVar[str] = "{}"
    noun: ClassVar[str] = "This method"
    fit_name: ClassVar[str] = "Training"
    starts_from_pretrained: ClassVar[bool] = True
    trains_by_steps: ClassVar[bool] = False
    keeps_body: ClassVar[bool] = True

    if TYPE_CHECKING:  # each method declares these keys at their place among its own
        name: str
        size: int | Literal["auto"]

    @property
    def training(self) -> TrainingSettings | None:
        """The keys of its gradient steps; None where it takes none."""
        return None

    @property
    def asked_px(self) -> int | None:
        """Side of the network's input as asked for; None where weights and images decide."""
        return None if self.size == "auto" else self.size

    @property
    def in_words(self) -> str:
        """How head and body were fitted."""
        raise NotImplementedError(f"{type(self).__name__} does not say how head and body are fitted.")


class ProbeSettings(MethodSettings):
    """A classifier on frozen features that is solved, not trained by steps; by default a linear one."""

    module = "transferkit.training.methods.probe"
    about = "Fit a linear classifier on the features of a frozen backbone."
    open_defaults: ClassVar[Mapping[str, str]] = {
        "size": SIZE_OF_WEIGHTS,
        "layers": "none",
        "batch_size": "by device and size",
    }
    subject = "A linear probe on {}"
    noun = "A probe"

    name: Literal["probe"]
    classifier: Literal["linear", "knn", "ncm", "raw-pixels"] = Field(
        "linear",
        description="knn: nearest neighbours by cosine; ncm: nearest class mean; raw-pixels: linear, without backbone.",
    )
    size: Annotated[int, Field(ge=8, le=LARGEST_PX)] | Literal["auto"] = Field("auto", description="Input side in px.")
    sweep: Literal["coarse", "full"] = Field("coarse", description="coarse-to-fine grid of C, or all 45 values.")
    C: float | None = Field(
        None, gt=0, le=1e12, description="Inverse L2 strength (scikit-learn's C); None chooses on val."
    )
    class_weight: Literal["balanced"] | None = Field(
        None, description="balanced: each class counts the same, however many images it has; None: each image does."
    )
    k: int | None = Field(
        None, ge=1, le=100_000, description="Neighbours that vote (knn); None: 20, fewer where train is smaller."
    )
    refit: bool = Field(True, description="Learn from train and val together in the end; off in comparisons.")
    last_stages: Annotated[int, Field(ge=1, le=3)] | Literal["auto"] = Field(
        1, description="Features of so many of the last stages side by side, pooled; auto chooses by held-out log-loss."
    )
    layers: tuple[str, ...] | None = Field(
        None, description="Also probe these layers, and those of a random copy: all, or layer1,layer3."
    )
    batch_size: Annotated[int, Field(ge=1, le=LARGEST_BATCH)] | Literal["auto"] = Field(
        "auto", description="Images per forward pass."
    )

    @property
    def in_words(self) -> str:
        return "linear probe"

    @field_validator("layers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keys_that_count(self) -> ProbeSettings:
        """A key that this classifier would not look at is a mistake."""
        if self.last_stages != 1 and self.layers:
            raise ValueError("layers are probed one by one, last_stages together. Leave one of them out.")
        if self.last_stages == "auto" and self.C is not None:
            raise ValueError("last_stages auto compares probes whose C is chosen. Leave C out, or give a number.")
        for key, classifiers in PROBE_KEYS.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.classifier not in classifiers:
                raise ValueError(f"{key} goes with classifier {' or '.join(classifiers)}, not with {self.classifier}.")
        return self


def _readable(text: str) -> str:
    try:
        budgets.read(text)
    except TransferkitError as error:
        raise ValueError(str(error)) from error
    return text


def paired(value: Any, form: str, example: str) -> Any:
    """The mapping that a text such as `a=1,b=2` writes down; anything else as it is.

    Raises:
        ValueError: If a part of the text has no value.
    """
    if not isinstance(value, str):
        return value
    pairs = [part.rpartition("=") for part in value.split(",")]
    if any(not name for name, _, _ in pairs):
        raise ValueError(f"{quoted(value)} is no list of {form}. Write {example}.")
    return {name.strip(): number for name, _, number in pairs}


PositiveWeight: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]
BudgetText: TypeAlias = Annotated[str, AfterValidator(_readable)]


@dataclass(frozen=True)
class StartKeys:
    """What a method that starts from pretrained weights says besides; as here where it has no such keys.

    Attributes:
        head_lr: Peak rate of the head; None where it is left open.
        layer_decay: Rate of a stage relative to the next one; 1 is off.
        l2_sp: Pull towards the starting weights; 0 is off.
        gradual_unfreezing: Whether stages wake one after the other.
        has_random_head: Whether the head is one that knows nothing yet.
    """

    head_lr: float | None
    layer_decay: float | None = 1.0
    l2_sp: float = 0.0
    gradual_unfreezing: bool = False
    has_random_head: bool = True


class TrainingSettings(MethodSettings):
    """Keys of every method that trains by gradient steps; None means the default of the backbone's family."""

    trains_by_steps = True
    keeps_body = False

    epochs: int | None = Field(None, ge=1, le=MOST_EPOCHS, description="How often it sees every training image.")
    budget: BudgetText | None = Field(None, description="Instead of epochs: 500steps, 10min or 1e15flops.")
    keep: Literal["last", "best"] = Field(
        "last", description="Which epoch is the result; best: on val, of at least 500 images, the start included."
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=MOST_EPOCHS,
        description="Stop after so many epochs without a better one on val, of at least 500 images; the best is kept.",
    )
    size: Annotated[int, Field(ge=8, le=LARGEST_PX)] | Literal["auto"] = Field(
        "auto", description="Input side in px; '96->160' (in quotes) trains small first, see start_size."
    )
    start_size: int | None = Field(
        None, ge=8, le=LARGEST_PX, description="Input side of the first epochs, from which it grows to size."
    )
    batch_size: int | None = Field(
        None, ge=1, le=LARGEST_BATCH, description="Images per pass, and per step; fewer where train is small."
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=LARGEST_BATCH,
        description="Passes whose gradients are added up to one step, of batch_size x accumulate images.",
    )
    optimizer: Literal["sgd", "adamw"] | None = Field(None, description="None: what suits the backbone's family.")
    lr: float | None = Field(None, gt=0, le=1000, description="Peak rate of the backbone at batch 128.")
    weight_decay: float | None = Field(None, ge=0, le=1000, description="Not applied to norms and biases.")
    momentum: float | None = Field(None, ge=0, lt=1, description="Of SGD, Nesterov's; 0.9 for most.")
    decoupled: bool = Field(
        False, description="lr, head_lr and weight_decay per 1,024 images, whatever the momentum (Jordan 2024)."
    )
    schedule: Literal["cosine", "triangular"] | None = Field(None, description="Of the rate; triangular: 0.2, 1, 0.07.")
    warmup: float | None = Field(None, ge=0, lt=1, description="Share of the steps with a rising rate.")
    norm_bias_lr: float | None = Field(
        None, gt=0, le=10_000, description="Rate of BatchNorm's biases, as a multiple of lr."
    )
    sync_batchnorm: bool = Field(
        False, description="With several devices, BatchNorm normalises by the images of all of them, as one would."
    )
    freeze_after: dict[str, Annotated[int, Field(ge=1, le=100_000)]] | None = Field(
        None, description="Stages that are frozen after so many epochs: whitening_bias=3."
    )
    class_weight: Literal["even", "balanced"] | dict[str, PositiveWeight] = Field(
        "even",
        description="What an image of each class counts in the loss; balanced: each class the same; or cat=2,dog=1.",
    )
    sampler: Literal["shuffled", "balanced"] = Field(
        "shuffled", description="balanced: an epoch has as many images of each class, drawn with replacement."
    )
    logit_adjustment: float = Field(
        0.0,
        ge=0,
        le=10,
        description="tau of Menon et al. 2021: shift the logits of rare classes up after training; 1 for most.",
    )
    label_smoothing: float | None = Field(
        None, ge=0, lt=1, description="Share of the target that is spread evenly over all classes."
    )
    mixup: float | None = Field(None, ge=0, le=100, description="alpha of the Beta distribution; 0 is off.")
    cutmix: float = Field(0.0, ge=0, le=100, description="alpha of the Beta distribution; 0 is off.")
    ema: bool | None = Field(None, description="Average weights and buffers over the last steps.")
    lookahead: bool | None = Field(None, description="Every five steps, go back to slow weights (Zhang et al. 2019).")
    clip_norm: float | None = Field(None, ge=0, le=1e9, description="Largest gradient norm; 0 is off.")
    flip: bool | None = Field(
        None, description="Mirror at random; None: not for digits and letters, nor where class names differ by a side."
    )
    alternating_flip: bool | None = Field(None, description="Mirror in every second epoch instead of at random.")
    test_flip: bool | None = Field(None, description="Predict from the image and its mirror image together.")
    test_shifts: bool | None = Field(None, description="Predict also from the image moved by 1 px of 32, both ways.")
    shift: float | None = Field(
        None, ge=0, lt=0.5, description="Random crop after reflect-padding by this share of the side; 0.125 for most."
    )
    augment: Augment = Field(
        {}, description="Other changes of training images, as rotation=15,colour=0.4; in this order; or trivial."
    )

    @property
    def training(self) -> TrainingSettings:
        """These keys themselves."""
        return self

    @property
    def start(self) -> StartKeys:
        """What it says about its start; a method without keys for it trains head and body at one rate."""
        return StartKeys(head_lr=self.lr)

    @property
    def step_images(self) -> int | None:
        """Images of one step; None where the default decides."""
        return self.batch_size and self.batch_size * self.accumulate

    @model_validator(mode="before")
    @classmethod
    def _growing(cls, values: Any) -> Any:
        """`96->160` is short for a first and a last size."""
        if not isinstance(values, Mapping) or not isinstance(size := values.get("size"), str):
            return values
        if re.fullmatch(r"\d+-", size):
            raise ValueError(f"size is {quoted(size)}: the shell took > for a file's name. Write --size '{size}>160'.")
        grows = re.fullmatch(r"(\d+)->(\d+)", size)
        return {**values, "start_size": grows[1], "size": grows[2]} if grows else values

    @model_validator(mode="after")
    def _smaller_first(self) -> Self:
        if self.start_size and self.size != "auto" and self.start_size >= self.size:
            raise ValueError(
                f"start_size {self.start_size} is not below size {self.size}. Images grow from the first to the last: "
                f"write --size '{self.size}->{self.start_size}'."
            )
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs and self.budget:
            raise ValueError(
                f"epochs {self.epochs} and budget {quoted(self.budget)} are two lengths. Give one of them."
            )
        return self

    @field_validator("freeze_after", mode="before")
    @classmethod
    def _stages(cls, value: Any) -> Any:
        return paired(value, "stage=epochs", "whitening_bias=3, or group1=2,group2=4")

    @field_validator("class_weight", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        return value if value in ("even", "balanced") else paired(value, "class=weight", "balanced, or cat=2,dog=1")

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.ema and self.lookahead:
            raise ValueError("ema and lookahead are two averages of the weights. Give one of them.")
        if self.decoupled and (self.lr is None or self.weight_decay is None or self.optimizer == "adamw"):
            raise ValueError("decoupled gives lr and weight_decay of SGD another unit. Give both, as in lr 11.5.")
        corrected = ("class_weight", self.class_weight != "even"), ("sampler", self.sampler == "balanced")
        asked = [key for key, is_on in (*corrected, ("logit_adjustment", self.logit_adjustment > 0)) if is_on]
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)} correct the same thing twice. Give one of them.")
        return self


class FinetuneSettings(TrainingSettings):
    """Train a pretrained backbone further, by default from a probe-initialised head (LP-FT, Kumar et al. 2022)."""

    module = "transferkit.training.methods.finetune"
    about = "Train a pretrained backbone further on your images."
    open_defaults: ClassVar[Mapping[str, str]] = {
        "epochs": "30; 10 from 2,000 training images on, 3 from 20,000 on",
        "size": SIZE_OF_WEIGHTS,
        "batch_size": "16 to 128, about a 64th of the images",
        "lr": "0.03, by SGD, if BatchNorm is trained; by AdamW 0.0004 if it is kept, 5e-05 without",
        "freeze_to": "none is frozen",
        "augment": "flip and shift alone",
    }
    subject = "Fine-tuned {}"
    fit_name = "Fine-tuning"

    name: Literal["finetune"]
    head: Literal["probe", "random"] = Field(
        "probe", description="What the head starts from: a linear probe, or chance."
    )
    head_lr: float | None = Field(None, gt=0, le=1000, description="Peak rate of the head at batch 128.")
    lr_factor: float = Field(
        1.0, gt=0, le=1000, description="Multiplies lr and head_lr, the defaults of network and start included."
    )
    train: Literal["all", "bias", "norm"] = Field(
        "all", description="What is trained besides the head: all, or of the body its biases, or its norms, alone."
    )
    freeze_to: str | None = Field(None, description="Freeze every stage up to and including this one.")
    layer_decay: float | None = Field(None, gt=0, le=1, description="Rate of a stage relative to the next one.")
    gradual_unfreezing: bool = Field(
        False, description="Wake one more stage each epoch, from the head down; several where epochs are few."
    )
    head_scale: float | None = Field(
        None, gt=0, le=1, description="What the probe's head is multiplied by before the first step."
    )
    batchnorm: Literal["auto", "train", "eval"] = Field(
        "auto",
        description="train: statistics estimated anew, then trained; eval: kept; auto: what the probe's loss prefers.",
    )
    refit: bool | None = Field(None, description="Train again on train and val together; None: below 20,000 images.")
    l2_sp: float = Field(0.0, ge=0, le=1e6, description="Pull towards the starting weights (Li et al. 2018), alpha.")

    @model_validator(mode="after")
    def _one_adapter(self) -> Self:
        if self.train == "all":
            return self
        asked = {
            "l2_sp": bool(self.l2_sp),
            "freeze_after": bool(self.freeze_after),
            "gradual_unfreezing": self.gradual_unfreezing,
            "batchnorm train": self.batchnorm == "train" and self.train != "norm",
        }
        if wrong := [key for key, is_asked in asked.items() if is_asked]:
            raise ValueError(f"train {self.train} does not go with {wrong[0]}. Leave one of them out.")
        return self

    @model_validator(mode="after")
    def _one_result(self) -> Self:
        if self.refit and self.keep == "best":
            raise ValueError("keep best chooses an epoch by val, and refit trains on val. Give one of them.")
        return self

    @property
    def start(self) -> StartKeys:
        return StartKeys(self.head_lr, self.layer_decay, self.l2_sp, self.gradual_unfreezing, self.head == "random")

    @property
    def in_words(self) -> str:
        return "fine-tuned from a probe (LP-FT)" if self.head == "probe" else "fine-tuned (FT)"


class ScratchSettings(TrainingSettings):
    """Train the same network from random weights, with defaults of its own."""

    module = "transferkit.training.methods.scratch"
    about = "Train the same network from random weights, for comparison."
    open_defaults: ClassVar[Mapping[str, str]] = {
        "epochs": "30",
        "size": "that of the images, where it suits the network",
        "batch_size": "16 to 128, about a 10th of the images",
        "lr": "0.1 for ResNets, 0.05 for VGG with BatchNorm, 0.01 without, 0.0005 for timm",
        "augment": "flip and shift alone",
    }
    subject = "{} trained from scratch"
    starts_from_pretrained = False

    name: Literal["scratch"]

    @property
    def in_words(self) -> str:
        return "trained from scratch"


METHOD_MODELS: dict[str, type[MethodSettings]] = {
    "finetune": FinetuneSettings,
    "probe": ProbeSettings,
    "scratch": ScratchSettings,
}


def expanded_method(value: Any) -> Any:
    """`probe` is short for a mapping with a name."""
    return {"name": value} if isinstance(value, str) else value


Method: TypeAlias = Annotated[MethodSettings, ChosenFrom(METHOD_MODELS), BeforeValidator(expanded_method)]


def of_method(menu: Mapping[str, _Entry], name: str) -> _Entry:
    """What a menu of methods holds for one of them.

    Raises:
        TransferkitError: If it does not hold this one; names those it holds.

    Example:
        >>> of_method({"probe": "solved", "scratch": "trained"}, "probe")
        'solved'
    """
    if name not in menu:
        raise TransferkitError(f"Unknown method {quoted(name)}. {did_you_mean(name, menu)}")
    return menu[name]
