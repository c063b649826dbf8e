"""One experiment as data: the recipe's models, how it is read from YAML, overridden and written back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeGuard, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from transferkit import budget as budgets
from transferkit.errors import TransferkitError, did_you_mean


class Settings(BaseModel):
    """A group of a recipe's keys: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --------------------------------------------------------------------------------------------------- data


class DataSettings(Settings):
    """Keys that every data set has."""

    limit_per_class: int | None = Field(None, ge=1, description="Keep at most this many labels per class.")
    val_fraction: float = Field(0.1, ge=0, lt=1, description="Share of the labels that becomes val.")
    split_seed: int = Field(0, ge=0, description="Seed of the split and of the limit; runs to be compared share it.")
    subset_seed: int | None = Field(None, ge=0, description="Seed of the limit and of val alone; default: split_seed.")

    @property
    def carving_seed(self) -> int:
        """The seed that decides which labels are kept and which of them are val; test does not depend on it."""
        return self.split_seed if self.subset_seed is None else self.subset_seed


class Cifar10Data(DataSettings):
    """CIFAR-10: 60,000 images of 32 x 32 px in ten classes (Krizhevsky 2009)."""

    name: Literal["cifar10"]
    root: Path | None = Field(None, description="Folder with the official archive or its files.")


class Cifar100Data(DataSettings):
    """CIFAR-100: 60,000 images of 32 x 32 px in a hundred classes (Krizhevsky 2009)."""

    name: Literal["cifar100"]
    root: Path | None = Field(None, description="Folder with the official archive or its files.")


class SvhnData(DataSettings):
    """SVHN: house-number digits of 32 x 32 px (Netzer et al. 2011)."""

    name: Literal["svhn"]
    root: Path | None = Field(None, description="Folder with train_32x32.mat and test_32x32.mat.")


class DigitsData(DataSettings):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 px, shipped with it."""

    name: Literal["digits"]
    test_fraction: float = Field(0.5, gt=0, lt=1, description="Share of every class that is sealed as test.")


class GlyphsData(DataSettings):
    """Letters drawn from the fonts that ship with matplotlib: affine, colour and noise at random, from one seed."""

    name: Literal["glyphs"]
    per_class: int = Field(400, ge=2, description="Images drawn for each of the letters, test included.")
    size: int = Field(16, ge=8, le=128, description="Side of an image in px.")
    drawing_seed: int = Field(0, ge=0)
    test_fraction: float = Field(0.1, gt=0, lt=1, description="Share of every class that is sealed as test.")


class FolderData(DataSettings):
    """Your own images: train/[val/]test/ with class folders, class folders alone, or a CSV of path,label."""

    name: Literal["folder"]
    path: Path = Field(description="The folder, or the CSV file.")
    storage: Annotated[int, Field(ge=8, le=1024)] | Literal["auto"] = Field(
        "auto", description="Side in px at which images are decoded and kept."
    )
    fit: Literal["squash", "crop"] = Field("squash", description="How a rectangle becomes a square.")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share sealed as test where there is no test part.")
    skip_bad: bool = Field(False, description="List unreadable files in the report instead of stopping.")


DATA_MODELS = (Cifar10Data, Cifar100Data, SvhnData, DigitsData, GlyphsData, FolderData)


def expanded_data(value: Any) -> Any:
    """`cifar10` and `folder:PATH` are short for a mapping with a name."""
    if isinstance(value, str):
        name, _, path = value.partition(":")
        return {"name": name, "path": path} if path else {"name": name}
    if isinstance(value, Mapping) and str(value.get("name", "")).startswith("folder:"):
        return {**value, "name": "folder", "path": str(value["name"]).partition(":")[2]}
    return value


Data: TypeAlias = Annotated[
    Annotated[
        Cifar10Data | Cifar100Data | SvhnData | DigitsData | GlyphsData | FolderData,
        Field(discriminator="name"),
    ],
    BeforeValidator(expanded_data),
]


# ----------------------------------------------------------------------------------------------- backbone


Count: TypeAlias = Annotated[int, Field(ge=1)]


class BackboneSettings(Settings):
    """Which network, and where its weights come from."""

    name: str = Field(description="resnet18, vgg16_bn, alexnet ..., or timm/<name>.")
    weights: str = Field(
        "imagenet", min_length=1, description="imagenet, none, a .safetensors or .pth file, or a run's folder."
    )
    stem: Literal["auto", "imagenet", "cifar"] = Field(
        "auto",
        description="cifar: 3x3 convolution without pooling, for small images; auto: cifar from scratch only.",
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="Rate of the network's dropout layers.")


class SimpleCnnSettings(BackboneSettings):
    """A classical CNN: blocks of convolution, BatchNorm, ReLU and pooling, then dense layers."""

    name: Literal["simple-cnn"]
    blocks: int = Field(3, ge=1, le=8, description="A convolution each; default: as many as `features` has numbers.")
    features: Count | tuple[Count, ...] = Field(
        32, description="Of each block; or of the first, and twice as many from block to block."
    )
    kernel: int = Field(3, ge=1, le=31, description="Side of the convolution's window in px.")
    stride: int = Field(1, ge=1, le=16, description="Px from window to window; 2 or more sub-samples.")
    padding: Annotated[int, Field(ge=0, le=64)] | Literal["same"] = Field(
        "same", description="Px added on each side; same: half the kernel, which keeps the size at stride 1."
    )
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    pool: Literal["max", "average", "none"] = Field("max", description="Over 2x2 px; none with stride 2 is its rival.")
    batchnorm: bool = True
    dense: tuple[Count, ...] = Field((128,), description="Widths of the dense layers before the head.")

    @model_validator(mode="before")
    @classmethod
    def _blocks_as_listed(cls, values: Any) -> Any:
        """Count the blocks where each one's features are listed; one dense layer needs no list."""
        values = dict(values)
        if isinstance(values.get("features"), list | tuple) and "blocks" not in values:
            values["blocks"] = len(values["features"])
        if isinstance(values.get("dense"), int):
            values["dense"] = [values["dense"]] if values["dense"] else []
        return values

    @model_validator(mode="after")
    def _features_per_block(self) -> SimpleCnnSettings:
        if len(self.widths) != self.blocks:
            raise ValueError(
                f"features lists {len(self.widths)} blocks and blocks says {self.blocks}; leave blocks out, or give "
                "one number, which doubles from block to block"
            )
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each block."""
        if isinstance(self.features, int):
            return tuple(self.features << number for number in range(self.blocks))
        return self.features

    @property
    def padding_px(self) -> int:
        """Px added on each side."""
        return (self.kernel - 1) // 2 if self.padding == "same" else self.padding


BACKBONE_MODELS: dict[str, type[BackboneSettings]] = {"simple-cnn": SimpleCnnSettings}  # those with keys of their own
ANY_BACKBONE = "network"


def backbone_settings(values: Mapping[str, Any]) -> BackboneSettings:
    """The settings of a backbone, with the keys that its name brings."""
    return BACKBONE_MODELS.get(str(values.get("name")), BackboneSettings).model_validate(values)


def _kind_of_backbone(value: Any) -> str:
    if isinstance(value, BackboneSettings):
        return value.name if type(value) in BACKBONE_MODELS.values() else ANY_BACKBONE
    name = value.get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) and name in BACKBONE_MODELS else ANY_BACKBONE


Backbone: TypeAlias = Annotated[
    Annotated[SimpleCnnSettings, Tag("simple-cnn")] | Annotated[BackboneSettings, Tag(ANY_BACKBONE)],
    Discriminator(_kind_of_backbone),
]


# ------------------------------------------------------------------------------------------------- method


LINEAR = ("linear", "raw-pixels")
PROBE_KEYS = {"sweep": LINEAR, "C": LINEAR, "class_weight": LINEAR, "k": ("knn",), "layers": ("linear",)}


class ProbeSettings(Settings):
    """A classifier on frozen features that is solved, not trained by steps; by default a linear one."""

    name: Literal["probe"]
    classifier: Literal["linear", "knn", "ncm", "raw-pixels"] = Field(
        "linear",
        description="knn: nearest neighbours by cosine; ncm: nearest class mean; raw-pixels: linear, without backbone.",
    )
    size: Annotated[int, Field(ge=8)] | Literal["auto"] = Field("auto", description="Input side in px.")
    sweep: Literal["coarse", "full"] = Field("coarse", description="coarse-to-fine grid of C, or all 45 values.")
    C: float | None = Field(None, gt=0, description="Inverse L2 strength (scikit-learn's C); None chooses on val.")
    class_weight: Literal["balanced"] | None = None
    k: int | None = Field(None, ge=1, description="Neighbours that vote (knn); None: 20, fewer where train is smaller.")
    layers: tuple[str, ...] | None = Field(
        None, description="Also probe these layers, and those of a random copy: all, or layer1,layer3."
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field("auto", description="Images per forward pass.")

    @field_validator("layers", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keys_that_count(self) -> ProbeSettings:
        """A key that this classifier would not look at is a mistake."""
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


BudgetText: TypeAlias = Annotated[str, AfterValidator(_readable)]


class TrainingSettings(Settings):
    """Keys of every method that trains by gradient steps; None means the default of the backbone's family."""

    epochs: int | None = Field(None, ge=1)
    budget: BudgetText | None = Field(None, description="Instead of epochs: 500steps, 10min or 1e15flops.")
    size: Annotated[int, Field(ge=8)] | Literal["auto"] = Field("auto", description="Input side in px.")
    batch_size: int | None = Field(None, ge=1)
    optimizer: Literal["sgd", "adamw"] | None = None
    lr: float | None = Field(None, gt=0, description="Peak rate of the backbone at batch 128.")
    weight_decay: float | None = Field(None, ge=0, description="Not applied to norms and biases.")
    momentum: float | None = Field(None, ge=0, lt=1, description="Of SGD, Nesterov's; 0.9 for most.")
    decoupled: bool = Field(
        False, description="lr and weight_decay per 1,024 images, whatever the momentum (Jordan 2024)."
    )
    schedule: Literal["cosine", "triangular"] | None = Field(None, description="Of the rate; triangular: 0.2, 1, 0.07.")
    warmup: float | None = Field(None, ge=0, lt=1, description="Share of the steps with a rising rate.")
    norm_bias_lr: float | None = Field(None, gt=0, description="Rate of BatchNorm's biases, as a multiple of lr.")
    freeze_after: dict[str, Annotated[int, Field(ge=1)]] | None = Field(
        None, description="Stages that are frozen after so many epochs: whitening_bias=3."
    )
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    mixup: float | None = Field(None, ge=0, description="alpha of the Beta distribution; 0 is off.")
    cutmix: float = Field(0.0, ge=0, description="alpha of the Beta distribution; 0 is off.")
    ema: bool | None = Field(None, description="Average weights and buffers over the last steps.")
    lookahead: bool | None = Field(None, description="Every five steps, go back to slow weights (Zhang et al. 2019).")
    clip_norm: float | None = Field(None, ge=0, description="Largest gradient norm; 0 is off.")
    flip: bool | None = Field(None, description="Mirror at random; None: not for digits and letters.")
    alternating_flip: bool | None = Field(None, description="Mirror in every second epoch instead of at random.")
    test_flip: bool | None = Field(None, description="Predict from the image and its mirror image together.")
    test_shifts: bool | None = Field(None, description="Predict also from the image moved by 1 px of 32, both ways.")
    shift: float | None = Field(
        None, ge=0, lt=0.5, description="Random crop after reflect-padding by this share of the side; 0.125 for most."
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs and self.budget:
            raise ValueError(f"epochs {self.epochs} and budget {self.budget!r} are two lengths. Give one of them.")
        return self

    @field_validator("freeze_after", mode="before")
    @classmethod
    def _stages(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",")]
        if any(not epochs for _, _, epochs in pairs):
            raise ValueError(f"{value!r} is no list of stage=epochs. Write whitening_bias=3, or group1=2,group2=4.")
        return {stage.strip(): epochs for stage, _, epochs in pairs}

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.ema and self.lookahead:
            raise ValueError("ema and lookahead are two averages of the weights. Give one of them.")
        if self.decoupled and (self.lr is None or self.weight_decay is None or self.optimizer == "adamw"):
            raise ValueError("decoupled gives lr and weight_decay of SGD another unit. Give both, as in lr 11.5.")
        return self


class FinetuneSettings(TrainingSettings):
    """Train a pretrained backbone further, by default from a probe-initialised head (LP-FT, Kumar et al. 2022)."""

    name: Literal["finetune"]
    head: Literal["probe", "random"] = "probe"
    head_lr: float | None = Field(None, gt=0)
    freeze_to: str | None = Field(None, description="Freeze every stage up to and including this one.")
    layer_decay: float | None = Field(None, gt=0, le=1, description="Rate of a stage relative to the next one.")
    gradual_unfreezing: bool = Field(False, description="Wake one more stage each epoch, from the head down.")
    batchnorm: Literal["train", "eval"] = Field("train", description="eval keeps the running statistics as they are.")
    l2_sp: float = Field(0.0, ge=0, description="Pull towards the starting weights (Li et al. 2018), alpha.")


class ScratchSettings(TrainingSettings):
    """Train the same network from random weights, with defaults of its own."""

    name: Literal["scratch"]


METHOD_MODELS: dict[str, type[Settings]] = {
    "probe": ProbeSettings,
    "finetune": FinetuneSettings,
    "scratch": ScratchSettings,
}
Method: TypeAlias = Annotated[ProbeSettings | FinetuneSettings | ScratchSettings, Field(discriminator="name")]


# ------------------------------------------------------------------------------------------------- recipe


class Recipe(Settings):
    """One experiment."""

    name: str = Field("", pattern=r"^[\w.-]*$", description="Names the run's folder; default: method-backbone.")
    data: Data
    backbone: Backbone
    method: Method
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = Field(None, ge=1)
    track: Literal["none", "tensorboard"] = Field("none", description="Write the finished run for this tool as well.")

    @property
    def title(self) -> str:
        """The name of the run's folder, without its hash."""
        classifier = getattr(self.method, "classifier", "linear")
        method = self.method.name if classifier == "linear" else f"{self.method.name}-{classifier}"
        backbone = "" if classifier == "raw-pixels" else f"-{self.backbone.name}"
        return self.name or f"{method}{backbone}".replace("/", "-")

    @property
    def short_hash(self) -> str:
        """Eight hex digits over everything that decides the result."""
        return _hash(self.model_dump(mode="json", exclude={"threads", "device", "track"}))

    @property
    def default_folder(self) -> Path:
        """runs/<title>-<short hash>: the same recipe goes to the same folder."""
        return Path("runs") / f"{self.title}-{self.short_hash}"


Labels: TypeAlias = Annotated[int, Field(ge=1)] | Literal["all"]


class Study(Settings):
    """Several recipes on the same images, compared: what the arms share, and what each arm changes.

    Attributes:
        before: Recipes made once, first; an arm takes their weights as `backbone: {weights: run:NAME}`.
        common: Keys of a recipe that all arms share.
        arms: Keys of a recipe, per arm, laid over `common`.
        budget: Of every arm that trains by gradient steps and has no epochs or budget of its own.
        labels: Makes it a label curve: every arm is run at each of these numbers of labels per class, `all` included.
            With each seed other labels are drawn, the same for all arms, smaller numbers being parts of larger ones.
        seeds: How many seeds each arm runs with: 0, 1, ...
        over: What intervals of differences count as drawn by chance; None: the seeds too, where there are two.
        reference: The arm the others are compared with.
    """

    name: str = Field("study", pattern=r"^[\w.-]+$")
    before: dict[str, Recipe] = Field(default_factory=dict)
    common: dict[str, Any] = Field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = Field(min_length=1)
    budget: BudgetText | None = None
    labels: tuple[Labels, ...] = ()
    seeds: int = Field(3, ge=1)
    over: Literal["seeds", "images"] | None = None
    reference: str

    @property
    def short_hash(self) -> str:
        """Eight hex digits over the whole study."""
        return _hash(self.model_dump(mode="json"))

    def cells(self) -> dict[str, tuple[str, Labels | None]]:
        """The arm, and in a label curve the number of labels, behind each name of a series of runs."""
        if not self.labels:
            return {arm: (arm, None) for arm in self.arms}
        return {f"{arm}-{count}": (arm, count) for count in self.labels for arm in self.arms}

    def recipes(self) -> Iterator[tuple[str, int, Recipe]]:
        """Name, seed and complete recipe of every run of the study."""
        for cell, (arm, count) in self.cells().items():
            for seed in range(self.seeds):
                values = merged(merged(self.common, self.arms[arm]), {"seed": seed, "name": f"{cell}-seed{seed}"})
                if count is not None:
                    drawn = {"limit_per_class": None if count == "all" else count, "subset_seed": seed}
                    values = merged(values, {"data": drawn})
                yield cell, seed, parse(self._budgeted(values), f"{self.name}, arm {arm}")

    def own_length(self, arm: str) -> bool:
        """Whether an arm trains by gradient steps, but not within the study's budget."""
        method = merged(self.common, self.arms[arm]).get("method")
        return self.budget is not None and _trains(method) and bool({"epochs", "budget"} & set(method))

    def _budgeted(self, values: dict[str, Any]) -> dict[str, Any]:
        method = values.get("method")
        if self.budget is None or not _trains(method) or {"epochs", "budget"} & set(method):
            return values
        return merged(values, {"method": {"budget": self.budget}})


def _trains(method: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether these keys of a recipe mean a method with gradient steps."""
    known = METHOD_MODELS.get(str(method.get("name"))) if isinstance(method, Mapping) else None
    return known is not None and issubclass(known, TrainingSettings)


class Ranking(Settings):
    """Backbones to choose from: each is frozen and probed on the same training images; val and test stay closed.

    Attributes:
        backbones: Each as in a recipe, or short: `resnet18`, `resnet18=none`, `resnet18=FILE`.
    """

    name: str = Field("", pattern=r"^[\w.-]*$", description="Names the ranking's folder; default: rank-DATA.")
    data: Data
    backbones: tuple[BackboneSettings, ...] = Field(min_length=1)
    images: int = Field(5000, ge=10, description="Use at most this many training images, the same for all.")
    size: Annotated[int, Field(ge=8)] | Literal["auto"] = Field("auto", description="Input side in px.")
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = Field(None, ge=1)

    @field_validator("backbones", mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        return [expanded_backbone(item) for item in value] if isinstance(value, list | tuple) else value

    @property
    def title(self) -> str:
        """The name of the ranking's folder, without its hash."""
        return self.name or f"rank-{self.data.name}"

    @property
    def short_hash(self) -> str:
        """Eight hex digits over everything that decides the result."""
        return _hash(self.model_dump(mode="json", exclude={"threads", "device"}))

    def recipes(self) -> dict[str, Recipe]:
        """The probe of each backbone, by a label that tells it from the others."""
        shared = {key: getattr(self, key) for key in ("data", "seed", "device", "precision", "threads")}
        method = ProbeSettings(name="probe", size=self.size)
        return {
            label: Recipe(backbone=backbone, method=method, **shared)
            for label, backbone in zip(self.labels, self.backbones, strict=True)
        }

    @property
    def labels(self) -> list[str]:
        """The backbones as the user types them, files and runs by their name alone where that is enough."""
        short = [_backbone_label(backbone, Path(backbone.weights).name) for backbone in self.backbones]
        return [
            label if short.count(label) == 1 else _backbone_label(backbone, backbone.weights)
            for label, backbone in zip(short, self.backbones, strict=True)
        ]


def expanded_backbone(value: Any) -> Any:
    """`resnet18` and `resnet18=none` are short for a mapping with a name and perhaps weights."""
    if not isinstance(value, str):
        return value
    name, _, weights = value.partition("=")
    return {"name": name, "weights": weights} if weights else {"name": name}


def _backbone_label(backbone: BackboneSettings, weights: str) -> str:
    return backbone.name if backbone.weights == "imagenet" else f"{backbone.name}={weights}"


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


# ---------------------------------------------------------------------------------------- read and write


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: 1e-3 is a number; yes, no, on and off are words."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Quotes what the loader above would read as something else."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_yaml(text: str, source: str) -> Any:
    """The values in a YAML text.

    Raises:
        TransferkitError: With file, line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise TransferkitError(f"{source}{where} is not YAML: {getattr(error, 'problem', error)}.") from error


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe | Study | Ranking:
    """The recipe, study or ranking in a YAML file, with `key.path=value` overrides applied.

    Raises:
        TransferkitError: All mistakes at once, each with file, key path and nearest key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TransferkitError(f"Cannot read the recipe {path}: {error}.") from error
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise TransferkitError(
            f"{path} holds no recipe. Expected keys data, backbone and method; see `transferkit recipes list`."
        )
    return parse_any(overridden(values, overrides), str(path))


def parse_any(values: Mapping[str, Any], source: str) -> Recipe | Study | Ranking:
    """A study where there are arms, a ranking where there are backbones, else a recipe."""
    if "backbones" in values:
        return parse_ranking(values, source)
    return parse_study(values, source) if "arms" in values else parse(values, source)


def parse_data(value: str | Mapping[str, Any]) -> Data:
    """The settings of a data set, from its name or from its keys.

    Raises:
        TransferkitError: All mistakes at once.
    """
    group = parse({"data": value, "backbone": {"name": "resnet18"}, "method": {"name": "probe"}}, "data")
    return group.data


def parse(values: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """A checked recipe.

    Raises:
        TransferkitError: All mistakes at once.
    """
    return _checked(Recipe, values, source)


def parse_study(values: Mapping[str, Any], source: str = "study") -> Study:
    """A study of which every arm is a checked recipe.

    Raises:
        TransferkitError: All mistakes at once; an unknown reference names the arms.
    """
    study = _checked(Study, values, source)
    if study.reference not in study.arms:
        raise TransferkitError(
            f"{source}: reference {study.reference!r} is no arm. {did_you_mean(study.reference, study.arms)}"
        )
    if len(study.arms) < 2 and not study.labels:
        raise TransferkitError(f"{source}: one arm alone cannot be compared. Add another backbone or method.")
    if study.over == "seeds" and study.seeds < 2:
        raise TransferkitError(
            f"{source}: an interval over seeds needs at least two seeds of every arm; this study has one. "
            "Use --seeds 3, or --over images."
        )
    if twice := [count for count in dict.fromkeys(study.labels) if study.labels.count(count) > 1]:
        raise TransferkitError(f"{source}: {twice[0]} labels per class is there twice.")
    for arm, _, recipe in study.recipes():
        if study.labels and _length_grows(recipe):
            raise TransferkitError(
                f"{source}, arm {arm}: a label curve needs the same number of gradient steps at every number of "
                "labels, and an epoch has more where there are more labels. Use --budget 500steps, 10min or 1e15flops."
            )
    return study


def _length_grows(recipe: Recipe) -> bool:
    """Whether a training is longer on more images."""
    if not isinstance(recipe.method, TrainingSettings):
        return False
    return recipe.method.budget is None or budgets.read(recipe.method.budget).kind in ("epochs", "converged")


def parse_ranking(values: Mapping[str, Any], source: str = "ranking") -> Ranking:
    """A checked ranking.

    Raises:
        TransferkitError: All mistakes at once; names a backbone that is there twice.
    """
    ranking = _checked(Ranking, values, source)
    labels = ranking.labels
    if twice := [label for label in dict.fromkeys(labels) if labels.count(label) > 1]:
        raise TransferkitError(
            f"{source}: {', '.join(twice)} is there twice. To rank one backbone with several weights write "
            "NAME=WEIGHTS, as in: resnet18 resnet18=none resnet18=my.safetensors."
        )
    return ranking


def dump(recipe: Recipe | Study | Ranking) -> str:
    """YAML that `load` reads back as the same recipe."""
    values = _name_first(recipe.model_dump(mode="json", exclude_none=True))
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _name_first(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    keys = sorted(value, key=lambda key: key != "name")
    return {key: _name_first(value[key]) for key in keys}


def overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with each `key.path=value` laid over them; a value may contain `=`.

    Example:
        >>> overridden({"method": {"name": "finetune"}}, ["method.lr=1e-3"])
        {'method': {'name': 'finetune', 'lr': 0.001}}
    """
    result = dict(values)
    for override in overrides:
        keys, equals, text = override.partition("=")
        if not equals or not keys:
            raise TransferkitError(
                f"Cannot read the override {override!r}. Expected key.path=value, as in method.epochs=5."
            )
        change: Any = parse_yaml(text, f"override {override!r}") if text else None
        for key in reversed(keys.split(".")):
            change = {key: change}
        result = merged(result, change)
    return result


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` laid over `base`, mapping by mapping; another `name` in a group starts that group afresh."""
    result = dict(base)
    for key, change in changes.items():
        below = result.get(key)
        if isinstance(below, str) and key == "data" and isinstance(change, Mapping):
            below = expanded_data(below)
        if isinstance(below, Mapping) and isinstance(change, Mapping) and not _renamed(below, change):
            change = merged(below, change)
        result[key] = change
    return result


def _renamed(below: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    return "name" in change and "name" in below and bool(change["name"] != below["name"])


def from_options(method: str, backbone: str, data: str, options: Mapping[str, Any], overrides: Sequence[str]) -> Recipe:
    """The recipe that a command or a Python call means; every option is a key of the recipe.

    Args:
        method: `finetune`, `probe` or `scratch`.
        backbone: Name of the backbone.
        data: Name of a data set, or `folder:PATH`.
        options: Keys of data, backbone, method or recipe with their values; None stands for not given.
        overrides: `key.path=value`, applied last.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    if method == "scratch" and options.get("weights") not in (None, "imagenet", "none"):
        raise TransferkitError(
            f"scratch starts from random weights, so weights {options['weights']!r} would be ignored. Leave them out, "
            "or use finetune or probe."
        )
    values: dict[str, Any] = {"data": expanded_data(data), "backbone": {"name": backbone}, "method": {"name": method}}
    for key, value in options.items():
        if value is not None:
            group = option_group(key, method)
            values = merged(values, {group: {key: value}} if group else {key: value})
    return parse(overridden(values, overrides), f"transferkit {method}")


def weighted(backbones: Sequence[str], weights: Sequence[str]) -> list[dict[str, str]]:
    """The keys of each backbone `NAME` or `NAME=WEIGHTS`, its own weights before those given to all.

    Raises:
        TransferkitError: If two kinds of weights are given to all.
    """
    entries = [expanded_backbone(entry) for entry in backbones]
    names = {entry["name"] for entry in entries}
    own = dict(given.split("=", 1) for given in weights if given.partition("=")[0] in names)
    shared = [given for given in weights if given.partition("=")[0] not in names]
    if len(shared) > 1:
        raise TransferkitError(
            f"--weights {shared[1]}: the backbones without weights of their own can have one kind only, and "
            f"{shared[0]} was given too. Write NAME=WEIGHTS for one backbone."
        )
    default = {"weights": shared[0]} if shared else {}
    return [default | ({"weights": own[e["name"]]} if e["name"] in own else {}) | e for e in entries]


def ranking_from_options(
    backbones: Sequence[str], data: str, weights: Sequence[str], options: Mapping[str, Any]
) -> Ranking:
    """The ranking that the command or the Python call means.

    Args:
        backbones: Each `NAME` or `NAME=WEIGHTS`.
        data: Name of a data set, or `folder:PATH`.
        weights: `NAME=WEIGHTS` for one backbone; anything else for all that have none of their own.
        options: Keys of data or ranking with their values; None stands for not given.

    Raises:
        TransferkitError: For all mistakes at once.
    """
    values: dict[str, Any] = {"data": expanded_data(data), "backbones": weighted(backbones, weights)}
    for key, value in options.items():
        if value is not None:
            in_data = key not in Ranking.model_fields and any(key in model.model_fields for model in DATA_MODELS)
            values = merged(values, {"data": {key: value}} if in_data else {key: value})
    return parse_ranking(values, "transferkit rank")


def option_group(key: str, method: str) -> str | None:
    """The group of the recipe that an option of a method's command belongs to; None for the recipe itself."""
    if key in BackboneSettings.model_fields:
        return "backbone"
    if key in METHOD_MODELS[method].model_fields:
        return "method"
    if any(key in model.model_fields for model in DATA_MODELS):
        return "data"
    return None if key in Recipe.model_fields else "method"


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe file, for editors."""
    return TypeAdapter(Recipe | Study | Ranking).json_schema()


_Model = TypeVar("_Model", bound=Settings)


def _checked(model: type[_Model], values: Mapping[str, Any], source: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_problem(model, detail) for detail in error.errors(include_url=False)]
        raise TransferkitError("\n".join(f"{source}: {problem}" for problem in dict.fromkeys(problems))) from error


def _problem(model: type[Settings], detail: Any) -> str:
    """One sentence for one of pydantic's errors: key path, what came, what was expected."""
    keys, group = _walk(model, detail["loc"])
    path = ".".join(keys)
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key {path!r}. {_meant(keys, model) or did_you_mean(keys[-1], group)}"
        case "missing":
            return f"key {path!r} is missing."
        case "union_tag_invalid":
            expected = re.findall(r"'([^']+)'", detail["ctx"]["expected_tags"])
            return f"unknown {path} {detail['ctx']['tag']!r}. {did_you_mean(detail['ctx']['tag'], expected)}"
        case "value_error":
            return f"{path}: {detail['ctx']['error']}"
        case "union_tag_not_found":
            return f"key {path + '.name'!r} is missing: it says which {path} to use."
        case "value_error":
            return f"{path or 'recipe'}: {detail['ctx']['error']}"
        case _:
            message = detail["msg"][0].lower() + detail["msg"][1:]
            return f"{path or 'recipe'}: {message}; found {detail['input']!r}."


def _meant(keys: Sequence[str], model: type[Settings]) -> str:
    """The sentence for a key that belongs into a group, as `epochs` into `method`."""
    groups: dict[str, Iterable[type[Settings]]] = {
        "backbone": (BackboneSettings,),
        "method": METHOD_MODELS.values(),
        "data": DATA_MODELS,
    }
    if len(keys) > 1 or model is not Recipe:
        return ""
    found = [name for name, models in groups.items() for of_group in models if keys[0] in of_group.model_fields]
    return f"Did you mean '{found[0]}.{keys[0]}'?" if found else ""


def _walk(model: type[Settings], location: Sequence[str | int]) -> tuple[list[str], list[str]]:
    """The key path a user wrote, without pydantic's union tags, and the valid keys of its last group."""
    keys: list[str] = []
    group: Any = model
    valid: list[str] = list(model.model_fields)
    for item in location:
        if group is None or (get_origin(group) in (Union, UnionType) and not _members(group)):
            break
        members = [member for member in _members(group) if _tag(member) == item]
        if members:
            group = members[0]
            valid = list(group.model_fields)
            continue
        keys.append(str(item))
        if isinstance(group, type) and issubclass(group, BaseModel):
            valid = list(group.model_fields)
            group = group.model_fields[str(item)].annotation if str(item) in group.model_fields else None
        else:
            group = next(iter(get_args(group)[not isinstance(item, int) :]), None)  # of a tuple, or of a mapping
    return keys, valid


def _members(annotation: Any) -> list[Any]:
    """The models of a (perhaps annotated) union, perhaps annotated themselves."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    members = [get_args(part)[0] if get_origin(part) is Annotated else part for part in get_args(annotation)]
    return [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("name")
    return next(iter(get_args(field.annotation)), ANY_BACKBONE) if field else None
