"""Files that are complete or absent: atomic writes, tensors without pickle."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.runtime import folders
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.full_disk import full_disk, says_full
from transferkit.runtime.json_files import JsonObject
from transferkit.runtime.json_files import read_json as read_json

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

BEING_MADE = "file being made"  # in the manifest of the folder of its parts
_claimed: dict[Path, str] = {}  # files that this process makes where there was none, with the options that name them
CHECKPOINT, REFIT_CHECKPOINT = "checkpoint.safetensors", "checkpoint-refit.safetensors"  # of unfinished trainings


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then move it into place in one step.

    In a folder that this process works in (`folders.hold`) the file is listed first.

    Raises:
        TransferkitError: If a file lies there that transferkit did not write in its folder, or one that came since
            the file was claimed.
        MachineError: If the disk is full or refuses; `path` is then as it was.
    """
    from safetensors import SafetensorError

    temporary = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.record(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        if path in _claimed:  # whoever copies files knows of no claim
            require_free(path, overwrite=False, option=_claimed.pop(path))
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:  # safetensors reports the system's errors as its own
        if says_full(error):
            raise full_disk(path, error) from error
        raise MachineError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_free(path: Path, overwrite: bool, option: str = "--out") -> None:
    """Refuse to replace a file unasked, and a place that cannot be written to, before any work.

    Raises:
        TransferkitError: If it is there and may not be replaced, or its folder cannot be written to.
    """
    if os.path.lexists(path) and not overwrite:
        raise TransferkitError(f"{path} exists. Choose another file with {option}, or replace it with --overwrite.")
    folders.require_writable(path.parent)


@contextmanager
def claim(path: Path | None, overwrite: bool, option: str = "--out") -> Iterator[None]:
    """Refuse a file as `require_free` does; inside, no other process makes it, and what comes to lie there stays.

    None, no file, is free.

    Raises:
        TransferkitError: Names the file, or the process that makes it.
    """
    if path is None:
        yield
        return
    require_free(path, overwrite, option)
    parts = parts_folder(path)
    folders.require_kind(parts, BEING_MADE)
    with folders.hold(parts, BEING_MADE):
        require_free(path, overwrite, option)  # another process may have ended meanwhile
        if not overwrite:
            _claimed[path] = option
        try:
            yield
        finally:
            _claimed.pop(path, None)


def parts_folder(path: Path) -> Path:
    """Where parts of a file wait until all are there, and which tells other processes that it is being made."""
    return path.with_name(path.name + ".partial")


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_text(path: Path) -> str:
    """A text file in UTF-8.

    Raises:
        TransferkitError: If it cannot be read, or is no such text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TransferkitError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TransferkitError(f"{path} is no text in UTF-8: {error}.") from error


def write_json(path: Path, value: Any) -> None:
    """A JSON file, atomically; NaN is refused, because it is no JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: JsonObject | None = None) -> None:
    """Arrays in a .safetensors file, atomically; `metadata` values are stored as JSON."""
    import numpy as np
    from safetensors.numpy import save_file

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in (metadata or {}).items()}
    write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata=texts))


def read_arrays(path: Path) -> tuple[dict[str, npt.NDArray[Any]], JsonObject]:
    """Arrays and metadata of a .safetensors file.

    Raises:
        TransferkitError: If the file is missing or damaged.
    """
    return _read(path, "numpy")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: JsonObject | None = None) -> None:
    """torch tensors in a .safetensors file, atomically; `metadata` values are stored as JSON."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    texts = {name: json.dumps(value) for name, value in (metadata or {}).items()}
    write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata=texts))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], JsonObject]:
    """torch tensors and metadata of a .safetensors file.

    Raises:
        TransferkitError: If the file is missing or damaged.
    """
    return _read(path, "pt")


def _read(path: Path, framework: str) -> tuple[Any, JsonObject]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            metadata = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise TransferkitError(f"Cannot read {path}: {error}.") from error
