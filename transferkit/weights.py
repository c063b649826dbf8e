"""Pretrained weights: where they are found, how they are checked, read without running code, and fitted to a body."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.classifier import InputSpec, WeightsRecord
from transferkit.download import fetch
from transferkit.errors import MachineError, TransferkitError, did_you_mean
from transferkit.runtime import cache_folder
from transferkit.screen import Screen

Tensors = dict[str, Tensor]

IMAGENET_PREPARATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # torchvision docs, "Models"
TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.", "body.")  # DataParallel, torch.compile, Lightning, a run of ours
TORCHVISION_LICENCE = "BSD (torchvision); terms of its training data, ImageNet, may apply"  # package metadata, README
OFFLINE = (
    "Without a network: --weights FILE (a .safetensors or .pth of your own), --weights none (random weights), or "
    "`transferkit quickstart` (a whole study that downloads nothing)."
)
SHOWN = 8


@dataclass(frozen=True)
class Weights:
    """What a file or run gives.

    Attributes:
        tensors: By name, in float32; an old classification layer may still be among them.
        record: Where they came from.
        preparation: Keys of InputSpec that travel with them (mean, std ...); empty where the file tells none.
    """

    tensors: Tensors = field(repr=False)
    record: WeightsRecord
    preparation: Mapping[str, Any] = field(default_factory=dict)


def opened(where: str, backbone: str, screen: Screen) -> Weights | None:
    """The weights in a file or a run's folder; None for `none`.

    Raises:
        TransferkitError: If there is nothing at `where`, it cannot be read safely, or the run is of another backbone.
    """
    if where == "none":
        return None
    path = Path(where).expanduser()
    if path.is_dir():
        return from_run(path, backbone)
    if path.is_file():
        return from_file(path, screen)
    near = f" {did_you_mean(where, ['imagenet', 'none'])}" if "/" not in where and "." not in where else ""
    raise TransferkitError(
        f"No weights at {where!r}: there is no such file or folder. Expected imagenet, none, "
        f"a .safetensors or .pth file, or the folder of a run.{near}"
    )


def input_spec(size: int, weights: Weights | None, default: Mapping[str, Any] = IMAGENET_PREPARATION) -> InputSpec:
    """How images are prepared: as the weights say, else by `default`."""
    return InputSpec(size=size, **{**default, **(weights.preparation if weights else {})})


# --------------------------------------------------------------------------------------- torchvision and downloads


def from_torchvision(name: str, screen: Screen) -> Weights:
    """The weights IMAGENET1K_V1 of a torchvision network, from this machine or downloaded.

    Raises:
        MachineError: If they are not here and cannot be downloaded.
    """
    url = torchvision_url(name)
    path, digest = local_or_downloaded(Path(url).name, [url], f"weights of {name}", screen)
    tensors, _ = read_file(path)
    return Weights(tensors, WeightsRecord("torchvision", "IMAGENET1K_V1", digest, TORCHVISION_LICENCE))


def torchvision_url(name: str) -> str:
    """Where torchvision keeps IMAGENET1K_V1; never DEFAULT, which means V2 for some networks and V1 for others."""
    from torchvision.models import get_model_weights

    return str(get_model_weights(name)["IMAGENET1K_V1"].url)


def local_or_downloaded(file: str, urls: Sequence[str], title: str, screen: Screen) -> tuple[Path, str]:
    """A file of weights and its SHA-256: from torch's cache or ours, else downloaded into ours.

    Args:
        file: Name (may hold folders) below the cache; `name-<hex>.pth` must have a SHA-256 that begins with the hex.
        urls: Where it can be had.
        title: What it is, for the screen and the error.
        screen: Shows the download.

    Raises:
        MachineError: If it is not here and cannot be downloaded; says where to put it, and what works without.
    """
    expected = hash_prefix(file)
    ours = cache_folder() / "weights" / file
    for path in (Path(torch.hub.get_dir()) / "checkpoints" / file, ours):
        if path.is_file():
            digest = sha256_of(path)
            if digest.startswith(expected):
                return path, digest
            screen.line(f"{path} is damaged (SHA-256 {digest[:8]}..., expected {expected}...) and not used.")
            if path == ours:
                ours.unlink(missing_ok=True)
    fetch(urls, ours, title=title, screen=screen, offline=OFFLINE)
    digest = sha256_of(ours)
    if not digest.startswith(expected):
        ours.unlink()
        wrong = f"what came has SHA-256 {digest[:8]}..., expected {expected}..."
        raise MachineError(no_download(title, wrong, ours, urls))
    return ours, digest


def no_download(title: str, reason: str, path: Path, urls: Sequence[str]) -> str:
    """The message for weights that cannot be had by downloading."""
    return (
        f"Could not download {title}: {reason}.\nPut {path.name} from {' or '.join(urls)} by hand at {path}. {OFFLINE}"
    )


def hash_prefix(file: str) -> str:
    """The hex digits in a file name by torch.hub's convention; empty where there are none.

    Example:
        >>> hash_prefix("resnet18-f37072fd.pth"), hash_prefix("model.safetensors")
        ('f37072fd', '')
    """
    found = re.search(r"-([0-9a-f]{8,64})\.", Path(file).name)
    return found.group(1) if found else ""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------- file and run


def from_file(path: Path, screen: Screen) -> Weights:
    """The weights in a .safetensors or .pth file; mean and std too, where its metadata tells them.

    Raises:
        TransferkitError: If the file is none of these, damaged, or would have to run code.
    """
    tensors, metadata = read_file(path)
    preparation = {key: triple for key in ("mean", "std") if (triple := _triple(metadata.get(key, "")))}
    if len(preparation) < 2:
        preparation = {}
        screen.line(f"{path.name} tells no mean and std; images are prepared as for ImageNet weights.")
    licence = metadata.get("licence") or metadata.get("license") or "unknown"
    return Weights(tensors, WeightsRecord("file", path.name, sha256_of(path), licence), preparation)


def from_run(folder: Path, backbone: str) -> Weights:
    """The body of the model in a run's folder, with its preparation; the head stays behind, whatever its classes.

    Raises:
        TransferkitError: If the folder is no finished run, or of another backbone.
    """
    path, facts_path = folder / "model.safetensors", folder / "model.json"
    if not (path.is_file() and facts_path.is_file()):
        raise TransferkitError(
            f"{folder} holds no model: expected the folder of a finished run, with model.safetensors and model.json."
        )
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        trained, prepared = str(facts["backbone"]["name"]), dict(facts["input"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransferkitError(f"Cannot read {facts_path}: {error!r}.") from error
    if trained != backbone:
        raise TransferkitError(
            f"The run {folder} trained {trained}, not {backbone}. Use {trained}, or the run of a {backbone}."
        )
    tensors, _ = read_file(path)
    licence = str(facts.get("weights", {}).get("licence", "unknown"))
    preparation = {key: tuple(prepared[key]) for key in ("mean", "std")}
    preparation |= {key: prepared[key] for key in ("interpolation", "crop") if key in prepared}
    return Weights(tensors, WeightsRecord("run", folder.resolve().name, sha256_of(path), licence), preparation)


def _triple(text: str) -> tuple[float, float, float] | None:
    """Three numbers written as `0.485,0.456,0.406`; None for anything else."""
    try:
        first, second, third = (float(number) for number in text.strip("[]() ").split(","))
    except ValueError:
        return None
    return first, second, third


# ----------------------------------------------------------------------------------------------------- reading


def read_file(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The state dict in a file, in float32, without wrappers and prefixes; and the file's metadata.

    Raises:
        TransferkitError: If the file is none of the known kinds, damaged, or would have to run code.
    """
    if path.suffix == ".safetensors":
        values, metadata = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        values, metadata = _read_torch(path), {}
    else:
        raise TransferkitError(
            f"{path} is no file of weights. Expected .safetensors or one of {', '.join(TORCH_SUFFIXES)}."
        )
    tensors = {name: as_float32(value) for name, value in unwrapped(values).items() if isinstance(value, Tensor)}
    if not tensors:
        raise TransferkitError(f"{path} holds no weights: expected a state dict, tensors by name.")
    return without_prefixes(tensors), metadata


def _read_safetensors(path: Path) -> tuple[Any, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TransferkitError(f"{path} is no .safetensors file, or damaged: {error}. {_opening(path)}") from error


def _read_torch(path: Path) -> Any:
    """What torch.load reads with weights_only: tensors and plain containers, never code."""
    with path.open("rb") as file:
        is_torch_file = file.read(2).startswith((b"PK", b"\x80"))  # a zip archive, or a bare pickle
    if not is_torch_file:
        raise TransferkitError(f"{path} is no PyTorch file. {_opening(path)} Expected a saved state dict.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        if wanted is None:
            raise TransferkitError(f"{path} is damaged, or no PyTorch file.") from error
        raise TransferkitError(
            f"{path} was refused: to load it, Python would have to run code from the file ({wanted.group(1)}), "
            "which could do anything. Expected tensors alone. If you trust where it comes from, load it with your own "
            "code and save its state dict: torch.save(model.state_dict(), FILE)."
        ) from error
    except Exception as error:  # a damaged file can fail in any way
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise TransferkitError(f"{path} is damaged or cut off: {reason}.") from error


def _opening(path: Path) -> str:
    """How a file begins, to recognise a web page or a pointer that was saved in place of the weights."""
    with path.open("rb") as file:
        begin = file.read(40)
    if not begin:
        return "It is empty."
    return f"It begins with {begin.decode('utf-8', 'replace').splitlines()[0]!r}."


def unwrapped(values: Any) -> Mapping[str, Any]:
    """The state dict in what a training script saved around it."""
    while isinstance(values, Mapping):
        inner = next((values[key] for key in WRAPPERS if isinstance(values.get(key), Mapping)), None)
        if inner is None:
            return values
        values = inner
    return {}


def without_prefixes(tensors: Tensors) -> Tensors:
    """The tensors without the prefixes that wrappers give to every name; of a run's model, the body."""
    if any(name.startswith("body.") for name in tensors):
        tensors = {name: value for name, value in tensors.items() if not name.startswith("head.")}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return without_prefixes({name.removeprefix(prefix): value for name, value in tensors.items()})
    return tensors


def as_float32(tensor: Any) -> Any:
    """Floating-point tensors of any precision in float32; everything else as it is."""
    is_float = isinstance(tensor, Tensor) and tensor.is_floating_point()
    return tensor.float() if is_float else tensor


# ------------------------------------------------------------------------------------------------------ fitting


def without_head(tensors: Tensors, head: Sequence[str]) -> Tensors:
    """The tensors outside the classification layer, which lies at the module names `head`."""
    prefixes = tuple(f"{name}." for name in head)
    return {name: value for name, value in tensors.items() if not name.startswith(prefixes)}


def fill(body: nn.Module, weights: Weights, backbone: str, head: Sequence[str]) -> None:
    """Put weights into a body, in place; every tensor of the body is replaced.

    Args:
        body: May lie on the meta device.
        weights: With or without a classification layer, of any number of classes.
        backbone: Its name, for the error.
        head: Module names of the classification layer, whose tensors are dropped.

    Raises:
        TransferkitError: Lists missing and unexpected tensors and those of other shapes, and guesses the network.
    """
    tensors = without_head(weights.tensors, head)
    expected = body.state_dict()
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}  # older files have none
    problems = differences(expected, tensors, optional=counters)
    if problems:
        raise TransferkitError(_does_not_fit(weights, backbone, problems))
    counts = {name: torch.zeros((), dtype=torch.long) for name in counters}
    body.load_state_dict({**counts, **tensors}, assign=True)


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], optional: set[str]) -> list[str]:
    """One line per kind of difference between two state dicts, each listing the first few names."""
    missing = [name for name in expected if name not in found and name not in optional]
    unexpected = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    return [f"{len(items)} {kind}: {_listed(items)}" for kind, items in kinds.items() if items]


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + more


def _does_not_fit(weights: Weights, backbone: str, problems: Sequence[str]) -> str:
    guess = guessed_backbone(weights.tensors)
    looks = f" It looks like {guess}." if guess and guess != backbone else ""
    lines = "\n".join(f"  {problem}" for problem in problems)
    return f"The weights {weights.record.tag} do not fit {backbone}.{looks} Tensors outside the old head:\n{lines}"


def guessed_backbone(tensors: Mapping[str, Tensor]) -> str:
    """The network that a state dict looks like; empty where nothing is recognised."""
    if "layer1.0.conv1.weight" in tensors:
        return _guessed_resnet(tensors)
    if "features.0.weight" in tensors:
        return _guessed_vgg_or_alexnet(tensors)
    if "blocks.0.attn.qkv.weight" in tensors:
        return "a vision transformer of timm (timm/vit_...)"
    if "stem.0.weight" in tensors and "stages.0.blocks.0.gamma" in tensors:
        return "a ConvNeXt of timm (timm/convnext_...)"
    if "stage1.0.convolutions.0.weight" in tensors:
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("stage1.")})
        return "resnet-mini" if blocks == 1 else f"resnet{6 * blocks + 2} or plain{6 * blocks + 2}"
    return ""


def _guessed_resnet(tensors: Mapping[str, Tensor]) -> str:
    names: dict[tuple[int, ...], tuple[str, str]] = {
        (2, 2, 2, 2): ("resnet18", ""),
        (3, 4, 6, 3): ("resnet34", "resnet50"),
        (3, 4, 23, 3): ("", "resnet101"),
        (3, 8, 36, 3): ("", "resnet152"),
    }  # He et al. 2016, table 1
    blocks = {(name.split(".")[0], name.split(".")[1]) for name in tensors if name.startswith("layer")}
    counts: tuple[int, ...] = tuple(sum(layer == f"layer{number}" for layer, _ in blocks) for number in range(1, 5))
    basic, bottleneck = names.get(counts, ("", ""))
    return bottleneck if "layer1.0.conv3.weight" in tensors else basic


def _guessed_vgg_or_alexnet(tensors: Mapping[str, Tensor]) -> str:
    convolutions = [value for name, value in tensors.items() if name.startswith("features.") and value.ndim == 4]
    if tensors["features.0.weight"].shape[2:] == (11, 11):
        return "alexnet"
    name = {8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}.get(len(convolutions), "")
    return f"{name}_bn" if name and "features.1.running_mean" in tensors else name
