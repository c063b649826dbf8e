"""A run as a repository for the Hugging Face hub: its card, its weights as the library's own class takes them."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict
from pathlib import Path

from torch import nn

from transferkit.deploy.card.licences import library_of
from transferkit.deploy.card.text import CardFiles, card_text
from transferkit.deploy.export import library_weights
from transferkit.deploy.export.library_lines import caveats, fixed_px, python_lines
from transferkit.deploy.export.source import ExportSource, source_of
from transferkit.deploy.export.target import publish_files
from transferkit.models.backbones import TIMM
from transferkit.models.weights import metadata_of
from transferkit.runs import result_folders
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError, quoted
from transferkit.runtime.files import write_json, write_tensors, write_text
from transferkit.runtime.json_files import JsonObject

WEIGHTS, CONFIG, README = "model.safetensors", "config.json", "README.md"
CARD = result_folders.Kind("model card", "a", CONFIG, README)
NO_UNKNOWN = (
    "The lines below name a class for every image; only transferkit, and what transferkit export writes, call strange "
    "images unknown."
)


def write_repository(
    run: Run | Path | str, out: Path | None = None, *, repository: str = "", overwrite: bool = False
) -> Path:
    """README.md, model.safetensors and config.json in a folder, complete before anything is replaced.

    Args:
        run: A finished run, or its folder.
        out: The folder. Default: RUN/card.
        repository: USER/NAME on the hub, for what the card says; empty for files at hand.
        overwrite: Replace an earlier card.

    Returns:
        The folder.

    Raises:
        TransferkitError: If there is no such run, or the folder holds something else.
        MachineError: If the weights do not answer as the model does.
    """
    place = open_run(run)
    folder = out or place.path / "card"
    claimed = result_folders.claim(folder, CARD, overwrite=overwrite)
    with claimed, tempfile.TemporaryDirectory(prefix="transferkit-card-") as workshop:
        _write(source_of(place), Path(workshop), repository)
        publish_files(Path(workshop), folder)
    return folder


def _write(source: ExportSource, folder: Path, repository: str) -> None:
    problem = _write_weights(source, folder / WEIGHTS)
    write_json(folder / CONFIG, config_of(source, is_of_library=not problem))
    name = repository.rpartition("/")[2] or source.run.path.resolve().name
    use = _transferkit_use(source, repository, problem) if problem else _library_use(source, repository)
    notes = () if problem else caveats(source)
    write_text(folder / README, card_text(source.run, CardFiles(name, use, NO_UNKNOWN, notes)))


def _write_weights(source: ExportSource, path: Path) -> str:
    """For the library's own class, and loaded into it to see that; else why not, and the body and a linear head."""
    try:
        library_weights.write(source, path)
    except MachineError:
        raise
    except TransferkitError as error:
        classifier = source.classifier
        is_linear = isinstance(classifier.head, nn.Linear)  # others remember training images
        tensors = {
            name: value for name, value in classifier.state_dict().items() if is_linear or name.startswith("body.")
        }
        write_tensors(path, tensors, metadata_of(classifier.input_spec, classifier.weights))
        return str(error).replace(" Use --to onnx.", "")
    return ""


def config_of(source: ExportSource, *, is_of_library: bool) -> JsonObject:
    """What `timm.create_model("hf-hub:USER/NAME")` reads; of other networks, the same facts."""
    spec, names = source.classifier.input_spec, source.class_names
    preparation = {
        "input_size": [3, spec.size, spec.size],
        "mean": spec.mean,
        "std": spec.std,
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop,
        "num_classes": len(names),
    }
    is_timm = is_of_library and library_of(source.run) == "timm"
    architecture = source.name.removeprefix(TIMM).partition(".")[0]
    px = fixed_px(source.name, spec.size) if is_timm else None
    built: JsonObject = {"pretrained_cfg": preparation, "model_args": {"img_size": px} if px else {}}
    return {
        "architecture": architecture,
        "library": (library_of(source.run) if is_of_library else "") or "transferkit",
        "num_classes": len(names),
        "num_features": source.classifier.num_features,
        "label_names": names,
        "input": asdict(spec),
        **(built if is_timm else {}),
    }


def _library_use(source: ExportSource, repository: str) -> str:
    download = ["from huggingface_hub import hf_hub_download"] if repository else []
    file = f"hf_hub_download({json.dumps(repository)}, {json.dumps(WEIGHTS)})" if repository else json.dumps(WEIGHTS)
    parts = [
        f"Without transferkit, in plain {library_of(source.run)}:",
        f"```python\n{python_lines(source, f'file = {file}', download)}\n```",
    ]
    if repository and library_of(source.run) == "timm":
        parts.append(f'Or, to the same network: `timm.create_model("hf-hub:{repository}", pretrained=True)`.')
    return "\n\n".join([*parts, _start_from(source, repository)])


def _transferkit_use(source: ExportSource, repository: str, problem: str) -> str:
    return f"{problem}\n\n{_start_from(source, repository)}"


def _start_from(source: ExportSource, repository: str) -> str:
    where = f"hf:{repository}" if repository else WEIGHTS
    return (
        "To start another training from it:\n\n```\n"
        f"transferkit finetune {source.name} --weights {where} --data folder:my-images\n```"
    )


# --------------------------------------------------------------------------------------------------------- the hub


def require_writable(repository: str) -> None:
    """Refuse a name that is none, or nobody who is logged in, before any work.

    Raises:
        TransferkitError: Says what to type.
    """
    from huggingface_hub import get_token

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", repository, re.ASCII):
        raise TransferkitError(f"--push {quoted(repository)} is no repository. Expected USER/NAME.")
    if not get_token():
        raise TransferkitError(
            "Nobody is logged in at the hub. Type: hf auth login, or put a token that may write into the variable "
            "HF_TOKEN."
        )


def push(folder: Path, repository: str, *, public: bool, console: Console) -> str:
    """Put the three files of a card into a repository in one commit; a new one is private unless asked.

    Returns:
        Its address.

    Raises:
        TransferkitError: If the hub does not allow it.
        MachineError: If it cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token

    api = HfApi(endpoint=constants.ENDPOINT, token=get_token())
    console.line(f"Sending {WEIGHTS}, {CONFIG} and {README} to {constants.ENDPOINT}/{repository}.")
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[WEIGHTS, CONFIG, README],
            commit_message="Upload a run of transferkit",
        )
    except Exception as error:  # of the network in many ways
        raise _refusal(error, repository, constants.ENDPOINT) from error
    return f"{constants.ENDPOINT}/{repository}"


def _refusal(error: Exception, repository: str, endpoint: str) -> TransferkitError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if status in (401, 403, 404):
        return TransferkitError(
            f"{endpoint} does not let you write to {repository} ({status}). Log in with a token that may write: "
            "hf auth login"
        )
    return MachineError(f"Could not send to {repository} at {endpoint}: {reason}. The card's folder is complete.")
