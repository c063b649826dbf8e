"""Weights in a repository of the Hugging Face hub: a .safetensors file, never a pickle."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NoReturn

from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError, quoted

PREFIX = "hf:"
FILE = "model.safetensors"  # as timm and transformers call it
BESIDE = ("README.md", "config.json")  # small files that tell the licence, and how images are prepared
EXPECTED = "hf:USER/NAME, hf:USER/NAME@REVISION or hf:USER/NAME/FILE.safetensors"
PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
PART = r"[A-Za-z0-9][\w.-]*"
ADDRESS = re.compile(
    rf"hf:(?P<repository>{PART}/{PART})(?:/(?P<file>[\w./-]+\.safetensors))?(?:@(?P<revision>[\w./-]+))?", re.ASCII
)


@dataclass(frozen=True)
class Address:
    """What `hf:USER/NAME` means."""

    repository: str
    file: str
    revision: str


@dataclass(frozen=True)
class HubFile:
    """A file of the hub on this disk.

    Attributes:
        path: In the cache of huggingface_hub, beside the small files of the same commit.
        repository: USER/NAME.
        commit: Its hash.
    """

    path: Path
    repository: str
    commit: str

    @property
    def tag(self) -> str:
        """Repository and commit, for records."""
        return f"{self.repository}@{self.commit[:12]}"


def location(where: str, console: Console | None = None) -> Path:
    """Where weights lie on this disk: the path that was given; of `hf:USER/NAME`, the file, downloaded if need be.

    Args:
        where: What `--weights` says.
        console: Hears of a download; without one it is said on stderr, since many megabytes never come in silence.

    Raises:
        TransferkitError: If there is no such repository, or no .safetensors file in it.
        MachineError: If it is not here, and the hub cannot be reached.
    """
    return hub_file(where, console or Console()).path if is_on_hub(where) else Path(where).expanduser()


def is_on_hub(where: str) -> bool:
    """Whether weights are named by their repository."""
    return where.startswith(PREFIX)


def hub_file(where: str, console: Console) -> HubFile:
    """The file of `hf:USER/NAME` from the cache of huggingface_hub, else downloaded into it; see `location`."""
    from huggingface_hub import constants

    address = parsed(where)
    commit, problem = _commit(address, constants.ENDPOINT)
    if problem:
        cached = _cached(address, problem)
        console.line(f"{problem}; {address.file} of {cached.tag} is from the cache.")
        return cached
    path = _in_cache(address.repository, address.file, commit)
    if path is None:
        console.line(f"Downloading {address.file} of {address.repository}@{commit[:12]} from {constants.ENDPOINT}.")
        path = _download(address, console)
    return _as_hub_file(path, address.repository)


def parsed(where: str) -> Address:
    """The parts of an address.

    Example:
        >>> parsed("hf:me/pets@v1")
        Address(repository='me/pets', file='model.safetensors', revision='v1')

    Raises:
        TransferkitError: If it is none.
    """
    match = ADDRESS.fullmatch(where)
    if match is None or ".." in where:
        raise TransferkitError(f"No weights at {quoted(where)}: expected {EXPECTED}.")
    return Address(match["repository"], match["file"] or FILE, match["revision"] or "main")


@lru_cache(maxsize=64)
def _commit(address: Address, endpoint: str) -> tuple[str, str]:
    """The commit that the hub has now, asked once per process; or why it does not tell.

    Raises:
        TransferkitError: If there is no such repository, revision or file.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        url = hf_hub_url(address.repository, address.file, revision=address.revision, endpoint=endpoint)
        commit = get_hf_file_metadata(url).commit_hash or ""
        return commit, "" if commit else f"{endpoint} is no hub: it tells no commit"
    except errors.GatedRepoError:
        raise TransferkitError(
            f"{address.repository} is open to those alone who agree to its terms. Read them at "
            f"{endpoint}/{address.repository}, then type: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise TransferkitError(
            f"There is no repository {address.repository} at {endpoint}, or it is private and you are not logged in "
            "(hf auth login)."
        ) from None
    except errors.RevisionNotFoundError:
        raise TransferkitError(f"{address.repository} has no revision {address.revision!r} at {endpoint}.") from None
    except errors.EntryNotFoundError:
        _refuse_other_files(address, endpoint)
    except errors.OfflineModeIsEnabled:
        return "", f"HF_HUB_OFFLINE forbids to ask {endpoint}"
    except Exception as error:  # without a network it fails in many ways; what is in the cache will do
        return "", f"{endpoint} does not answer ({_first_line(error)})"


def _refuse_other_files(address: Address, endpoint: str) -> NoReturn:
    """Say what a repository has in place of the file.

    Raises:
        TransferkitError: Always.
    """
    from huggingface_hub import HfApi

    files = HfApi(endpoint=endpoint).list_repo_files(address.repository, revision=address.revision)
    safe = [name for name in files if name.endswith(".safetensors")]
    if safe:
        advice = f"It has {', '.join(safe[:5])}. Name one: {PREFIX}{address.repository}/{safe[0]}"
    else:
        pickles = ", ".join([name for name in files if name.endswith(PICKLES)][:5])
        beside = f" It has {pickles}, which could run code when it is loaded, and is never taken from a hub."
        advice = f"It holds no .safetensors file at all.{beside * bool(pickles)} Ask its author to add one."
    raise TransferkitError(f"{address.repository} has no {address.file}. {advice}")


def _cached(address: Address, problem: str) -> HubFile:
    """The file as the cache has it.

    Raises:
        MachineError: If it has none.
    """
    from huggingface_hub import constants

    path = _in_cache(address.repository, address.file, address.revision)
    if path is None:
        raise MachineError(
            f"Could not get {address.file} of {address.repository}: {problem}, and it is not in the cache "
            f"({constants.HF_HUB_CACHE}). Without a network: download it elsewhere, and type --weights FILE."
        )
    return _as_hub_file(path, address.repository)


def _as_hub_file(path: Path, repository: str) -> HubFile:
    from huggingface_hub import constants

    return HubFile(path, repository, path.relative_to(constants.HF_HUB_CACHE).parts[2])  # REPOSITORY/snapshots/COMMIT


def _in_cache(repository: str, file: str, revision: str) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache

    path = try_to_load_from_cache(repository, file, cache_dir=constants.HF_HUB_CACHE, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _download(address: Address, console: Console) -> Path:
    """The file, and those of the small files beside it that there are.

    huggingface_hub verifies and resumes, and sends the token of whoever is logged in.

    Raises:
        MachineError: If it breaks off.
    """
    from huggingface_hub import constants, errors, hf_hub_download
    from huggingface_hub.utils.tqdm import tqdm

    bar: Any = partial(tqdm, disable=console.quiet or not sys.stderr.isatty())
    paths = []
    for file in (address.file, *BESIDE):
        try:
            path = hf_hub_download(
                address.repository,
                file,
                revision=address.revision,
                endpoint=constants.ENDPOINT,
                cache_dir=constants.HF_HUB_CACHE,
                tqdm_class=bar,
            )
            paths.append(Path(path))
        except errors.EntryNotFoundError:
            continue  # a repository may have none of the small files; that it has the first is known
        except Exception as error:  # of the network and of the disk
            raise MachineError(
                f"Could not download {file} of {address.repository} from {constants.ENDPOINT}: {_first_line(error)}"
            ) from error
    return paths[0]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
