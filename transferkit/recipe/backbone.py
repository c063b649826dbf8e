"""The keys of a backbone, and those that a network brings with its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from transferkit.recipe.references import weights_source
from transferkit.recipe.settings import RecipePart
from transferkit.runtime.plurals import counted

WIDEST = 4096
GIVEN = "given:"  # weights that a network of the user's own program brings, followed by their hash
ONE_DEVIATION = 1.0  # above the mean of a normalised image
Count: TypeAlias = Annotated[int, Field(ge=1, le=WIDEST)]


class BackboneSettings(RecipePart):
    """Which network, and where its weights come from."""

    name: str = Field(description="resnet18, vgg16_bn, alexnet ..., or timm/<name>.")
    weights: str = Field(
        "imagenet",
        min_length=1,
        description="imagenet, none, a .safetensors or .pth file, a RUN, hf:USER/NAME or a package's name.",
    )
    stem: Literal["auto", "imagenet", "cifar"] = Field(
        "auto",
        description="cifar: 3x3 convolution without pooling, for small images; auto: cifar from scratch only.",
    )
    dropout: float | None = Field(None, ge=0, lt=1, description="Rate of the network's dropout layers.")

    @field_validator("weights")
    @classmethod
    def _folder_of_a_numbered_run(cls, weights: str) -> str:
        """Name the folder, since another run is the last one when the recipe is read again."""
        return weights_source(weights)

    @property
    def weights_are_on_disk(self) -> bool:
        """Whether the weights are those of a file, a run or a package, instead of a word that says it all."""
        return self.weights not in ("imagenet", "none") and not self.weights.startswith(GIVEN)


class SimpleCnnSettings(BackboneSettings):
    """A classical CNN: blocks of convolution, BatchNorm, ReLU and pooling, then dense layers."""

    name: Literal["simple-cnn"]
    blocks: int = Field(3, ge=1, le=8, description="A convolution each; default: as many as `features` has numbers.")
    features: Count | Annotated[tuple[Count, ...], Field(max_length=8)] = Field(
        32, description="Of each block; or of the first, and twice as many from block to block."
    )
    kernel: int = Field(3, ge=1, le=31, description="Side of the convolution's window in px.")
    stride: int = Field(1, ge=1, le=16, description="Px from window to window; 2 or more sub-samples.")
    padding: Annotated[int, Field(ge=0, le=64)] | Literal["same"] = Field(
        "same", description="Px added on each side; same: half the kernel, which keeps the size at stride 1."
    )
    padding_mode: Literal["zeros", "constant", "reflect", "replicate", "circular"] = Field(
        "zeros", description="What stands in the padding; constant: `padding_value`."
    )
    padding_value: float = Field(
        ONE_DEVIATION,
        ge=-1000,
        le=1000,
        allow_inf_nan=False,
        description="Of padding_mode constant; in the normalised image, 0 is its mean.",
    )
    pool: Literal["max", "average", "none"] = Field("max", description="Over 2x2 px; none with stride 2 is its rival.")
    batchnorm: bool = Field(True, description="Normalise after each convolution.")
    dense: tuple[Count, ...] = Field((128,), max_length=8, description="Widths of the dense layers before the head.")

    @model_validator(mode="before")
    @classmethod
    def _blocks_as_listed(cls, values: Any) -> Any:
        """Count the blocks where each one's features are listed; one dense layer needs no list."""
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in dict(values).items()}
        if isinstance(values.get("features"), tuple) and "blocks" not in values:
            values["blocks"] = len(values["features"])
        if isinstance(values.get("dense"), int):
            values["dense"] = (values["dense"],) if values["dense"] else ()
        return values

    @model_validator(mode="after")
    def _value_has_a_place(self) -> SimpleCnnSettings:
        if self.padding_mode != "constant" and self.padding_value != ONE_DEVIATION:
            raise ValueError(
                f"padding_value {self.padding_value:g} is for padding_mode=constant; padding_mode is "
                f"{self.padding_mode}, so write padding_mode: constant, or leave padding_value out"
            )
        return self

    @model_validator(mode="after")
    def _features_per_block(self) -> SimpleCnnSettings:
        if len(self.widths) != self.blocks:
            raise ValueError(
                f"features lists {counted(len(self.widths), 'block')} and blocks says {self.blocks}; "
                "leave blocks out, or give "
                "one number, which doubles from block to block"
            )
        if max(self.widths) > WIDEST:
            raise ValueError(
                f"features grow to {max(self.widths):,} in the last block; at most {WIDEST:,} are possible"
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


def expanded_backbone(value: Any) -> Any:
    """`resnet18` and `resnet18=none` are short for a mapping with a name and perhaps weights."""
    if not isinstance(value, str):
        return value
    name, _, weights = value.partition("=")
    return {"name": name, "weights": weights} if weights else {"name": name}


def _kind_of_backbone(value: Any) -> str:
    if isinstance(value, BackboneSettings):
        return value.name if type(value) in BACKBONE_MODELS.values() else ANY_BACKBONE
    name = value.get("name") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) and name in BACKBONE_MODELS else ANY_BACKBONE


Backbone: TypeAlias = Annotated[
    Annotated[SimpleCnnSettings, Tag("simple-cnn")] | Annotated[BackboneSettings, Tag(ANY_BACKBONE)],
    Discriminator(_kind_of_backbone),
    BeforeValidator(expanded_backbone),
]
