"""Networks of the user's own program, each kept in this process under the name that recipes and runs give it."""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.models import weights
from transferkit.models.backbones.own_bodies import AskedStages, OwnBody, own_body, own_stages, reset
from transferkit.models.classifier import Classifier, measured_width
from transferkit.models.stored_model import RANDOM_WEIGHTS, InputSpec, StoredModel, WeightsRecord
from transferkit.recipe import BackboneSettings
from transferkit.recipe.backbone import GIVEN
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, quoted

OWN = "own/"
AS_TO_TENSOR = (0.0, 1.0)  # mean and std of each band that leave images in [0, 1], as ToTensor gives them


@dataclass(frozen=True)
class OwnNetwork:
    """A network as it was given.

    Attributes:
        settings: The backbone that a recipe calls it; `own/<class>-<layout>`, and its weights `given:<hash>`.
        body: Without its last linear layer.
        stages: By name, in the order of the forward pass.
        spec: How it wants its images.
    """

    settings: BackboneSettings
    body: OwnBody
    stages: dict[str, tuple[str, ...]]
    spec: InputSpec


_given: dict[str, OwnNetwork] = {}  # by name and weights; the latest of a name comes last


def give(module: Any, size: int | None, stages: AskedStages = None, mean: Any = None, std: Any = None) -> OwnNetwork:
    """Keep a copy of a module, and say what a recipe calls it.

    Args:
        module: Takes (N, 3, size, size), or grey (N, 1, size, size); its last linear layer is taken off.
        size: Side in px that images are resized to.
        stages: Names of its parts in the order of the forward pass, or those parts by stage; None: its children.
        mean: A number per channel, for pixels in [0, 1]; None: images stay in [0, 1].
        std: Likewise.

    Raises:
        TransferkitError: If it cannot be a classifier's body; in one sentence.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        came = "" if size is None else f"; found {quoted(size)}"
        raise TransferkitError(
            f"A network of your own needs size, the side in px of the images it takes, as in size=32{came}."
        )
    body = own_body(module, size)
    means, stds = (
        _per_band(*given, body.bands) for given in zip(("mean", "std"), (mean, std), AS_TO_TENSOR, strict=True)
    )
    spec = InputSpec(size, means, stds)
    stage_parts = dict(own_stages(body, stages))
    layout = hashlib.sha256(_layout(body.network).encode()).hexdigest()[:6]
    name = f"{OWN}{re.sub(r'[^A-Za-z0-9_.-]', '_', type(body.network).__name__)}-{layout}"
    settings = BackboneSettings(name=name, weights=GIVEN + _digest(body, stage_parts, spec), stem="imagenet")
    network = OwnNetwork(settings, body, stage_parts, spec)
    _given.pop(f"{name}={settings.weights}", None)
    _given[f"{name}={settings.weights}"] = network
    return network


def give_again(module: Any, model: StoredModel) -> None:
    """Keep a network for a run that was made of it.

    Raises:
        TransferkitError: If the run is of another network; says which layers.
    """
    spec, name = model.input, model.backbone.name
    if not name.startswith(OWN):
        raise TransferkitError(f"This run is of {name}, which needs no module. Leave module out.")
    network = give(module, spec.size, None, spec.mean, spec.std)
    if network.settings.name != name:
        raise TransferkitError(
            f"This run is of {name}, and module is {network.settings.name}: its layers have other names or shapes. "
            "Give the network that the run was made of; its weights may be any."
        )


def load(settings: BackboneSettings, class_names: Sequence[str], size: int, console: Console) -> Classifier:
    """A copy of a network that was given, below a new head; with weights none its layers draw new ones.

    Raises:
        TransferkitError: If it was not given in this process, or dropout is asked for.
    """
    if settings.weights == "imagenet":
        raise TransferkitError(f"{settings.name} has no ImageNet weights: it starts from those it was given with.")
    if settings.dropout:
        raise TransferkitError(f"{settings.name} has the dropout of your own program. Leave backbone.dropout out.")
    network = given(settings)
    body, spec = copy.deepcopy(network.body.network), replace(network.spec, size=size)
    record = WeightsRecord("given", "as your program gave them", settings.weights.removeprefix(GIVEN), "your own")
    if settings.weights == "none":
        record = RANDOM_WEIGHTS
        if undrawn := sorted(reset(body)):
            console.line(
                f"{settings.name}: {', '.join(undrawn)} stay as given, since no reset_parameters draws them anew"
            )
    elif settings.weights_are_on_disk:
        opened = weights.open_weights(settings.weights, settings.name, console)
        assert opened is not None
        weights.fill(body, opened, settings.name, head=())
        record, spec = opened.record, weights.input_spec(size, opened)
    if removed := network.body.removed:
        console.line(f"{settings.name}: its last linear layer, {removed}, gives way to a head for these classes")
    setattr(body, "extra_repr", _Printed(network.settings.weights))  # noqa: B010 - stored features know it by this
    return Classifier(body, measured_width(body, size), class_names, network.stages, spec, record)


def given(settings: BackboneSettings) -> OwnNetwork:
    """The network that these settings mean; with weights none, the latest of that name.

    Raises:
        TransferkitError: If it was not given in this process.
    """
    latest = [key for key, network in _given.items() if network.settings.name == settings.name]
    key = f"{settings.name}={settings.weights}" if settings.weights.startswith(GIVEN) else "".join(latest[-1:])
    if key not in _given:
        was = "given with other weights, stages, mean or std" if latest else "not given to this program"
        raise TransferkitError(
            f"{settings.name} is a network of your own, whose code no file of a run holds, and it was {was}. Give it "
            "in Python: transferkit.load(RUN, module=YourNetwork()) for a finished run, finetune(YourNetwork(), ...) "
            "for a new one."
        )
    return _given[key]


def require(settings: BackboneSettings) -> None:
    """Refuse a network that was not given."""
    given(settings)


def made_for_px(settings: BackboneSettings) -> int:
    """The side it was given with."""
    return given(settings).spec.size


def fitting_px(_: BackboneSettings, px: int) -> int:
    """Any side; one that the network cannot take is refused when it is asked."""
    return px


@dataclass(frozen=True)
class _Printed:
    """What the body prints of itself besides its layers: by its answers, modules of other code are told apart."""

    weights: str

    def __call__(self) -> str:
        return self.weights


def _layout(network: nn.Module) -> str:
    return "\n".join(f"{name} {tuple(value.shape)}" for name, value in network.state_dict().items())


def _digest(body: OwnBody, stages: dict[str, tuple[str, ...]], spec: InputSpec) -> str:
    """Of the weights, what they answer, and how the network is used."""
    digest = hashlib.sha256(f"{_layout(body.network)} {stages} {spec.mean} {spec.std}".encode())
    for value in body.network.state_dict().values():
        digest.update(value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    digest.update(_rounded(body.answers).numpy().tobytes())
    return digest.hexdigest()[:12]


def _rounded(answers: Tensor) -> Tensor:
    """To a thousandth of the largest one, so that the order of sums does not enter."""
    return (1000 * answers / answers.abs().amax().clamp_min(1e-12)).round().to(torch.int16)


def _per_band(name: str, values: Any, default: float, bands: int) -> tuple[float, ...]:
    if values is None:
        return (default,) * bands
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    is_one_each = len(numbers) == bands and all(math.isfinite(number) for number in numbers)
    if not is_one_each or (name == "std" and min(numbers) <= 0):
        kind = f"positive number{'s' * (bands > 1)}" if name == "std" else f"number{'s' * (bands > 1)}"
        raise TransferkitError(
            f"{name} is {quoted(values)}. Expected {bands} {kind}, one per channel: ({', '.join(['0.5'] * bands)})."
        )
    return numbers
