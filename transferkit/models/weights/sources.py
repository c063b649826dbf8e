"""Where pretrained weights are found: torchvision, an installed package, a file, a run's folder, a hub."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from transferkit.models.stored_model import FILE as MODEL
from transferkit.models.stored_model import WeightsRecord, read_model
from transferkit.models.weights import hub
from transferkit.models.weights.cached import download_file, local, sha256_of
from transferkit.models.weights.content import Preparation, Weights
from transferkit.models.weights.facts_beside import licence_beside, preparation_beside
from transferkit.models.weights.hub import HubFile
from transferkit.models.weights.known_packages import same_network
from transferkit.models.weights.metadata import stated_licence, stated_preparation
from transferkit.models.weights.packages import from_packages, installed, is_packaged
from transferkit.models.weights.reading import read_file
from transferkit.recipe.references import nearest_run
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted

TORCHVISION_LICENCE = "BSD (torchvision); terms of its training data, ImageNet, may apply"  # package metadata, README


def open_weights(where: str, backbone: str, console: Console) -> Weights | None:
    """The weights in a file or a run's folder, or those that an installed package gives this name; None for `none`.

    Raises:
        TransferkitError: If there is nothing at `where`, it cannot be read safely, or the run is of another backbone.
    """
    if where == "none":
        return None
    if hub.is_on_hub(where):
        return from_hub(hub.hub_file(where, console), console)
    path = Path(where).expanduser()
    if os.path.isdir(path):
        return from_run(path, backbone)
    if os.path.isfile(path):
        return from_file(path, console)
    packaged = from_packages(backbone, where, console)
    if packaged is None:
        require_weights_source(where, backbone)
    return packaged


def require_weights_source(where: str, backbone: str, console: Console | None = None) -> None:
    """Check that there is something at `where`: a file, a folder, a name that an installed package gives.

    What lies on a hub is downloaded, since its size and stem have a say in what is done.

    Raises:
        TransferkitError: If not, or if the package's file is altered; says what was expected.
        MachineError: If it would have to be downloaded and cannot be.
    """
    if where in ("imagenet", "none") or hub.location(where, console).exists():
        return
    if is_packaged(backbone, where):
        return
    packages = installed()
    is_a_word = "/" not in where and "." not in where
    names = {offer.content.name for offer in packages.offers if same_network(offer.content.backbone, backbone)}
    near = [did_you_mean(where, {"imagenet", "none", *names})] if is_a_word else [nearest_run(where)]
    raise TransferkitError(
        " ".join(
            [
                f"No weights at {quoted(where)}: there is no such file or folder. Expected imagenet, none, "
                "a .safetensors or .pth file, the folder of a run, hf:USER/NAME, or a name that an installed package "
                "gives.",
                *filter(None, near),
                *(packages.problems if is_a_word else ()),
            ]
        )
    )


def from_torchvision(name: str, console: Console) -> Weights:
    """The ImageNet weights of a torchvision network: from a cache, an installed package, or IMAGENET1K_V1 downloaded.

    Raises:
        TransferkitError: If a package that offers them is altered, or several do.
        MachineError: If they are not here and cannot be downloaded.
    """
    url = torchvision_url(name)
    cached = local(Path(url).name, console)
    if cached is None and (packaged := from_packages(name, "imagenet", console)):
        return packaged
    path, digest = cached or download_file(Path(url).name, [url], f"weights of {name}", console)
    tensors, _ = read_file(path)
    return Weights(tensors, WeightsRecord("torchvision", "IMAGENET1K_V1", digest, TORCHVISION_LICENCE))


def torchvision_url(name: str) -> str:
    """Where torchvision keeps IMAGENET1K_V1; never DEFAULT, which means V2 for some networks and V1 for others."""
    from transferkit.runtime.torchvision_import import models

    return str(models.get_model_weights(name)["IMAGENET1K_V1"].url)


def from_file(path: Path, console: Console) -> Weights:
    """The weights in a .safetensors or .pth file; mean and std too, where its metadata tells them.

    Raises:
        TransferkitError: If the file is none of these, damaged, or would have to run code.
    """
    tensors, metadata = read_file(path)
    preparation = stated_preparation(path, metadata) or preparation_beside(path)
    if preparation is None:
        console.line(f"{path.name} tells no mean and std; images are prepared as for ImageNet weights.")
    record = WeightsRecord("file", path.name, sha256_of(path), stated_licence(metadata))
    return Weights(tensors, record, preparation)


def from_hub(file: HubFile, console: Console) -> Weights:
    """The weights in a file of the hub; where the file tells no licence, the repository's card does.

    Raises:
        TransferkitError: If the file is damaged.
    """
    weights = from_file(file.path, console)
    licence = weights.record.licence if weights.record.licence != "unknown" else licence_beside(file.path)
    return replace(weights, record=replace(weights.record, source="hub", tag=file.tag, licence=licence))


def from_run(folder: Path, backbone: str) -> Weights:
    """The body of the model in a run's folder, with its preparation; the head stays behind, whatever its classes.

    Raises:
        TransferkitError: If the folder is no finished run, or of another backbone.
    """
    path = folder / "model.safetensors"
    if not (path.is_file() and (folder / MODEL).is_file()):
        raise TransferkitError(
            f"{folder} holds no model: expected the folder of a finished run, with model.safetensors and model.json."
        )
    model = read_model(folder)
    trained = model.backbone.name
    if trained != backbone:
        raise TransferkitError(
            f"The run {folder} trained {trained}, not {backbone}. Use {trained}, or the run of a {backbone}."
        )
    tensors, _ = read_file(path)
    licence = model.weights.licence if model.weights else "unknown"
    given = model.input
    preparation = Preparation(given.mean, given.std, given.interpolation, given.crop)
    return Weights(tensors, WeightsRecord("run", folder.resolve().name, sha256_of(path), licence), preparation)
