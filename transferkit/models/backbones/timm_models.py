"""Any image model of timm by its name, `timm/<name>` or `timm/<name>.<tag>`, with timm's weights and preparation."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from transferkit.runtime import timm_import  # noqa: F401 - before timm, which would load the compiler with it

# isort: split
import timm
from huggingface_hub import constants, get_hf_file_metadata, try_to_load_from_cache
from timm.models import PretrainedCfg, get_pretrained_cfg
from timm.models._manipulate import group_with_matcher
from torch import nn

from transferkit.models import weights
from transferkit.models.backbones import timm_sizes
from transferkit.models.backbones.cards import BackboneCard
from transferkit.models.backbones.timm_sizes import TimmOptions
from transferkit.models.classifier import Classifier, measured_width
from transferkit.models.stored_model import RANDOM_WEIGHTS, Triple, WeightsRecord
from transferkit.models.weights import Weights
from transferkit.models.weights.content import Preparation
from transferkit.recipe import BackboneSettings
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError

Stages = dict[str, tuple[str, ...]]

PREFIX = "timm/"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Pretrained:
    """What timm's metadata tells about the weights of one model.

    Attributes:
        name: Of the architecture, without tag.
        tag: Of the weights; empty where timm has none.
        repository: On the Hugging Face hub; empty where timm names none.
        url: Where weights lie that are not on the hub.
        licence: Of the weights.
        head: Module names of the classification layer.
        px: Side of the images that they were trained with.
        fixed_size: Whether the network must be told the size of its input.
        preparation: What its weights were trained with.
    """

    name: str
    tag: str
    repository: str
    url: str
    licence: str
    head: tuple[str, ...]
    px: int
    fixed_size: bool
    preparation: Preparation


def load(settings: BackboneSettings, class_names: Sequence[str], size: int, console: Console) -> Classifier:
    """A model of timm without its classification layer, below a new head.

    Raises:
        TransferkitError: If timm has no such model or weights, or the model cannot take images of this size.
        MachineError: If weights would have to be downloaded and cannot be.
    """
    if settings.stem == "cifar":
        raise TransferkitError(f"{settings.name} has no stem for small images. Use a larger --size.")
    full_name = settings.name.removeprefix(PREFIX)
    require_model(full_name)
    facts = pretrained(full_name)
    pretrained_weights = imagenet(facts, console) if settings.weights == "imagenet" else None
    if pretrained_weights is None:
        pretrained_weights = weights.open_weights(settings.weights, settings.name, console)
    body = build(full_name, facts, size, settings, pretrained_weights)
    is_of_run = pretrained_weights is not None and pretrained_weights.record.source == "run"
    if not is_of_run:  # a run keeps the size that it was made with
        timm_sizes.require_whole_patches(body, size, settings.name)
    spec = weights.input_spec(size, pretrained_weights, default=facts.preparation)
    record = RANDOM_WEIGHTS if pretrained_weights is None else pretrained_weights.record
    classifier = Classifier(body, width(body, size, settings.name), class_names, stages(body), spec, record)
    tell_layers(classifier)
    return classifier


def made_for_px(settings: BackboneSettings) -> int:
    """The side that timm's weights were trained with; of a model without weights, what it was designed for."""
    require_model(settings.name.removeprefix(PREFIX))
    return pretrained(settings.name.removeprefix(PREFIX)).px


def fitting_px(settings: BackboneSettings, px: int) -> int:
    """The whole patches nearest to `px`; the size that timm made the model for where it cannot take these."""
    full_name = settings.name.removeprefix(PREFIX)
    require_model(full_name)
    facts = pretrained(full_name)
    made_for = timm_sizes.Size(full_name, facts.px, facts.fixed_size)
    wanted = timm_sizes.Size(full_name, timm_sizes.whole_patches_px(made_for, px), facts.fixed_size)
    is_taken = timm_sizes.is_taken(wanted, trained=made_for if settings.weights != "none" else None)
    return wanted.px if is_taken else made_for.px


def names(wildcard: str) -> list[BackboneCard]:
    """A card for each of timm's pretrained models whose name matches."""
    return [
        BackboneCard(f"timm/{name}", "timm", None, None, "timm") for name in timm.list_models(wildcard, pretrained=True)
    ]


def require(settings: BackboneSettings) -> None:
    """Refuse a network that timm does not have."""
    require_model(settings.name.removeprefix(PREFIX))


def require_model(full_name: str) -> None:
    """Refuse a name or a tag that timm does not have.

    Raises:
        TransferkitError: Names the nearest ones.
    """
    name, _, tag = full_name.partition(".")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        nearest = f"Nearest: {', '.join(f'timm/{model}' for model in near)}. " if near else ""
        raise TransferkitError(
            f"Unknown backbone 'timm/{full_name}'. {nearest}`transferkit backbones 'timm/*'` lists all."
        )
    tagged = timm.list_models(f"{name}.*", pretrained=True)
    if tag and full_name not in tagged:
        known = ", ".join(f"timm/{model}" for model in tagged) or "none"
        raise TransferkitError(f"timm has no weights {tag!r} for {name}. Known: {known}.")


def pretrained(full_name: str) -> Pretrained:
    """What timm's metadata tells about a model and its weights, whole image and no centre crop."""
    facts = get_pretrained_cfg(full_name) or PretrainedCfg()
    head = facts.classifier or ()
    return Pretrained(
        name=full_name.partition(".")[0],
        tag=facts.tag or "",
        repository=facts.hf_hub_id or "",
        url=facts.url if isinstance(facts.url, str) else "",
        licence=facts.license or "unknown",
        head=(head,) if isinstance(head, str) else tuple(head),
        px=int(facts.input_size[-1]),
        fixed_size=bool(facts.fixed_input_size),
        preparation=Preparation(
            _of_three_channels(facts.mean),
            _of_three_channels(facts.std),
            "bilinear" if facts.interpolation == "bilinear" else "bicubic",
        ),
    )


def _of_three_channels(numbers: Sequence[float]) -> Triple:
    """As timm does: one number counts for every channel."""
    red, green, blue = numbers if len(numbers) == 3 else (numbers[0],) * 3
    return red, green, blue


# ----------------------------------------------------------------------------------------------------- weights


def imagenet(facts: Pretrained, console: Console) -> Weights:
    """timm's pretrained weights: from the Hugging Face cache or ours, an installed package, else downloaded.

    Raises:
        TransferkitError: If timm has no weights for this model, or a package that offers them is altered.
        MachineError: If they are not here and cannot be downloaded; names repository and file.
    """
    file = cache_name(facts)
    cached = hub_file(facts.repository) or weights.local(file, console)
    if cached is None and (packaged := weights.from_packages(tagged(facts), "imagenet", console)):
        return packaged
    path, digest = cached or download_weights(facts, file, console)
    tensors, _ = weights.read_file(path)
    record = WeightsRecord("timm", facts.tag or path.name, digest, facts.licence)
    return Weights(tensors, record, facts.preparation)


def has_imagenet(settings: BackboneSettings) -> bool:
    """Whether timm's weights of a model are on this machine.

    Raises:
        TransferkitError: If timm has none, or the file of an installed package is missing or altered.
    """
    facts = pretrained(settings.name.removeprefix(PREFIX))
    is_here = bool(hub_file(facts.repository)) or weights.is_cached(cache_name(facts))
    return is_here or weights.is_packaged(tagged(facts), "imagenet")


def tagged(facts: Pretrained) -> str:
    """The backbone's name with timm's tag of its weights."""
    return f"timm/{facts.name}.{facts.tag}" if facts.tag else f"timm/{facts.name}"


def cache_name(facts: Pretrained) -> str:
    """Where the weights lie below our cache.

    Raises:
        TransferkitError: If timm has none.
    """
    if facts.repository:
        return f"{facts.repository}/{HUB_FILES[0]}"
    if facts.url:
        return Path(facts.url).name
    raise TransferkitError(f"timm has no weights for {facts.name}. Use --weights none or --weights FILE.")


def hub_file(repository: str) -> tuple[Path, str] | None:
    """The file of weights of a repository in the Hugging Face cache, and its SHA-256; None where it is not there."""
    for file in HUB_FILES if repository else ():
        if isinstance(cached := try_to_load_from_cache(repository, file), str):
            return Path(cached), weights.sha256_of(Path(cached))
    return None


def download_weights(facts: Pretrained, file: str, console: Console) -> tuple[Path, str]:
    """The file of weights from the Hugging Face hub or timm's own address, and its SHA-256.

    Raises:
        MachineError: If it cannot be downloaded, or must not be.
    """
    hub = f"{constants.ENDPOINT}/{facts.repository}/resolve/main/{HUB_FILES[0]}"
    url = hub if facts.repository else facts.url
    title = f"weights of timm/{facts.name}"
    if facts.repository and constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE forbids downloads"
        raise MachineError(weights.no_download(title, reason, cache_folder() / "weights" / file, [url]))
    return weights.download_file(file, [url], title, console, hub_sha256(url) if facts.repository else "")


def hub_sha256(url: str) -> str:
    """The SHA-256 of a file that the Hugging Face hub stores; empty where the hub does not tell.

    The hub names its large files by their SHA-256 and sends it as their ETag.
    """
    try:
        etag = get_hf_file_metadata(url).etag or ""
    except Exception:  # without a network it fails in many ways; the download then says what is wrong
        return ""
    return etag if re.fullmatch(r"[0-9a-f]{64}", etag) else ""


# ------------------------------------------------------------------------------------------------------- body


def build(
    full_name: str, facts: Pretrained, size: int, settings: BackboneSettings, pretrained_weights: Weights | None
) -> nn.Module:
    """The model without classification layer, filled with the weights found.

    Raises:
        TransferkitError: If the model cannot take this size, or the weights do not fit.
    """
    options: TimmOptions = {**timm_sizes.Size(full_name, size, facts.fixed_size).options, "drop_rate": settings.dropout}
    if pretrained_weights is None:
        return created(full_name, size, options)
    if pretrained_weights.record.source == "run":
        body = created(full_name, size, options)
        weights.fill(body, pretrained_weights, settings.name, facts.head)
        return body
    headless = replace(pretrained_weights, tensors=weights.without_head(pretrained_weights.tensors, facts.head))
    try:
        return converted(full_name, headless, options)
    except (RuntimeError, KeyError, AttributeError, ValueError, AssertionError, TypeError):
        body = created(full_name, size, options)  # says so where the size was it
        weights.fill(body, headless, settings.name, facts.head)  # else says what does not fit
        return body


def converted(full_name: str, headless: Weights, options: TimmOptions) -> nn.Module:
    """The model with weights loaded by timm, which converts other authors' layouts and resamples position embeddings.

    It is told to expect no classification layer, because it then requires every other tensor.
    """
    overlay = {"state_dict": headless.tensors, "num_classes": 0}
    model: Any = timm.create_model(full_name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    model.pretrained_cfg.pop("state_dict", None)  # a second copy of the weights
    body: nn.Module = model
    return body


def created(full_name: str, size: int, options: TimmOptions) -> nn.Module:
    """The model with random weights.

    Raises:
        TransferkitError: If it cannot be built for images of this size.
    """
    try:
        body: nn.Module = timm.create_model(full_name, pretrained=False, **options)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise TransferkitError(
            f"timm/{full_name} cannot be built for images of {size} px: {error}. Try --size 224, or a multiple of 32."
        ) from error
    return body


def width(body: nn.Module, size: int, name: str) -> int:
    """The measured number of features.

    Raises:
        TransferkitError: If the model cannot take images of this size.
    """
    try:
        return measured_width(body, size)
    except (AssertionError, ValueError) as error:
        raise TransferkitError(f"{name} cannot take images of {size} px: {error}. Try --size 224.") from error


# ------------------------------------------------------------------------------------------------------ stages


def stages(body: nn.Module) -> Stages:
    """The stages that timm's layer-decay groups make, in the order of the forward pass; every module is in one."""
    groups = stage_numbers(body)
    prefixes: dict[int, list[str]] = {}
    for prefix, number in covering_prefixes(body, "", groups, [0]):
        prefixes.setdefault(number, []).append(prefix)
    named: Stages = {}
    for number in sorted(prefixes):
        has_state = [prefix for prefix in prefixes[number] if any(_lies_in(name, prefix) for name in groups)]
        name = "stem" if number == 0 else has_state[0]
        name = "neck" if name == "head" else name  # a norm before the head; `head` is the new classification layer
        named[name] = tuple(prefixes[number])
    return named


def tell_layers(classifier: Classifier) -> None:
    """Give a classifier timm's fine groups, for rates that fall with depth, and what timm spares from weight decay."""
    classifier.layer_numbers = group_numbers(classifier.body, coarse=False) or {}
    classifier.undecayed = undecayed(classifier.body)


def stage_numbers(body: nn.Module) -> dict[str, int]:
    """The stage of each parameter and buffer, by timm's matcher; by top-level module where a model has none."""
    if numbers := group_numbers(body, coarse=True):
        return numbers
    tops = list(dict.fromkeys(name.partition(".")[0] for name in tensor_names(body)))
    return {name: tops.index(name.partition(".")[0]) for name in tensor_names(body)}


def group_numbers(body: nn.Module, coarse: bool) -> dict[str, int] | None:
    """The number of each tensor's group by timm's matcher, from the images on; None where a model has no matcher."""
    try:
        matcher = body.group_matcher(coarse=coarse)  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError, AssertionError):
        return None
    groups = group_with_matcher(((name, name) for name in tensor_names(body)), matcher)
    return {name: number for number, members in groups.items() for name in members}


def tensor_names(body: nn.Module) -> list[str]:
    """Names of all parameters, then of all buffers."""
    return [name for name, _ in (*body.named_parameters(), *body.named_buffers())]


def undecayed(body: nn.Module) -> frozenset[str]:
    """Names of the parameters that timm's model exempts from weight decay, as position embeddings and class tokens."""
    exempt: Collection[str] = getattr(body, "no_weight_decay", set)()
    return frozenset(name for name, _ in body.named_parameters() if any(fnmatch(name, pattern) for pattern in exempt))


def covering_prefixes(
    module: nn.Module, prefix: str, groups: Mapping[str, int], last: list[int]
) -> Iterator[tuple[str, int]]:
    """The highest modules (and bare tensors) that lie in one stage as a whole.

    A module without tensors of its own (pooling, dropout) belongs to the stage before it, kept in `last`.
    """
    for name, _ in (*module.named_parameters(prefix, recurse=False), *module.named_buffers(prefix, recurse=False)):
        yield name, groups[name]
    for child_name, child in module.named_children():
        path = f"{prefix}.{child_name}" if prefix else child_name
        inside = {number for name, number in groups.items() if _lies_in(name, path)}
        if len(inside) > 1:
            yield from covering_prefixes(child, path, groups, last)
        else:
            last[0] = inside.pop() if inside else last[0]
            yield path, last[0]


def _lies_in(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
