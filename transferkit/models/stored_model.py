"""What model.json holds: the facts that are needed to build a run's network again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from transferkit.recipe import Backbone
from transferkit.runtime.records import read_record, write_record

FILE = "model.json"

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Triple: TypeAlias = tuple[float, float, float]  # per channel
Numbers: TypeAlias = tuple[float, ...]  # per band


def _positive(numbers: Numbers) -> Numbers:
    """Numbers, one per band, that images can be divided by."""
    if min(numbers, default=0) <= 0:
        raise PydanticCustomError("positive", "three positive" if len(numbers) == 3 else "one positive number per band")
    return numbers


Positives = Annotated[Numbers, AfterValidator(_positive)]


@dataclass(frozen=True)
class InputSpec:
    """How the network wants its images; it travels with the weights.

    Attributes:
        size: Side in px that images are resized to.
        mean: Per band (R, G, B, or all there are), for pixels in [0, 1].
        std: Per band, likewise.
        interpolation: Of the resize, which is always antialiased.
        crop: Share of the sides kept around the centre before the resize; 1 keeps the whole image.
    """

    size: Positive
    mean: Numbers
    std: Positives
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    crop: Share = 1.0


@dataclass(frozen=True)
class WeightsRecord:
    """Where the weights came from: source (torchvision, timm, file, run, none), tag, SHA-256 and licence."""

    source: str
    tag: str
    sha256: str = ""
    licence: str = "unknown"

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


RANDOM_WEIGHTS = WeightsRecord("none", "random initialisation", licence="none needed")


@dataclass(frozen=True)
class HeadFacts:
    """What is needed besides tensors to build a head again.

    Attributes:
        kind: "linear", or "neighbours", which has what follows.
        images: How many it remembers.
        k: Of them vote.
        temperature: Of their vote.
    """

    kind: str = "linear"
    images: Positive | None = None
    k: Positive | None = None
    temperature: float | None = None


LINEAR = HeadFacts()


@dataclass(frozen=True)
class Thresholds:
    """What the run answers "unknown" by; see `ood.rejection.Rejection`.

    Attributes:
        score: The detector's name.
        n: Images it was learnt from.
        learnt_from: Which: "validation" or "training".
    """

    score: str
    n: int
    percentiles: tuple[float, ...]
    temperature: float | None
    candidate_quantile: float | None
    learnt_from: str = "validation"


@dataclass(frozen=True)
class StoredModel:
    """A network besides its tensors; files of earlier versions lack what has a default.

    Attributes:
        backbone: As in the recipe.
        class_names: One for each logit.
        input: How it wants its images.
        head: Its kind and what it needs.
        rejection: None in runs of earlier versions.
        num_features: D.
        stages: From input to output.
        weights: Where those came from that it started with.
        averages_mirror: Whether it answers from the image and its mirror image.
        averages_shifts: Whether it answers also from the image moved by a little.
        parameters: How many numbers were or could have been trained.
        last_stages: How many of the last stages the features come from.
        precision: In which the thresholds were made; None where environment.json alone tells.
    """

    backbone: Backbone
    class_names: tuple[str, ...]
    input: InputSpec
    head: HeadFacts = LINEAR
    rejection: Thresholds | None = None
    num_features: int | None = None
    stages: tuple[str, ...] = ()
    weights: WeightsRecord | None = None
    averages_mirror: bool = False
    averages_shifts: bool = False
    parameters: int | None = None
    precision: str | None = None
    last_stages: Annotated[int, Field(ge=1, le=3)] = 1


def read_model(folder: Path) -> StoredModel:
    """The facts in a run's folder.

    Raises:
        TransferkitError: If model.json is missing or damaged; says where.
    """
    return read_record(folder / FILE, StoredModel)


def write_model(folder: Path, model: StoredModel) -> None:
    """The facts into a run's folder."""
    write_record(folder / FILE, model)
