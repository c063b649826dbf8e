"""The machine below a run: device, precision, threads, seeds and versions."""

from __future__ import annotations

import contextlib
import platform
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from transferkit.runtime import distributed
from transferkit.runtime.allocator import keep_freed_memory
from transferkit.runtime.depthwise import DepthwiseGradientsInFp32
from transferkit.runtime.environment import Environment, package_version
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.runtime.processor import asked_threads, cpu_model, has_bf16_units, usable_cores

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """Where and how a run computes; `notes` say aloud what was chosen by itself.

    `world` has the processes that share its steps; it is alone unless a run has told the others to follow it.
    """

    device: torch.device
    precision: Precision
    threads: int
    notes: tuple[str, ...] = ()
    world: distributed.World = distributed.ALONE

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 arithmetic inside, where this runtime uses it."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @contextlib.contextmanager
    def autocast_of_training(self) -> Iterator[None]:
        """The same for a forward pass whose gradients are asked for."""
        is_slow = self.precision == "bf16" and self.device.type == "cpu"
        with self.autocast(), DepthwiseGradientsInFp32() if is_slow else contextlib.nullcontext():
            yield


def start(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Runtime:
    """Choose device, precision and threads, and set the process up for them.

    Raises:
        TransferkitError: If the device asked for is not there, in whose place nothing else is used; or if
            OMP_NUM_THREADS is no number.
    """
    chosen = choose_device(device)
    chosen_precision = choose_precision(chosen, precision)
    chosen_threads = threads or asked_threads() or usable_cores()
    torch.set_num_threads(chosen_threads)
    if chosen.type == "cpu":
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = chosen.type == "cuda"
    described = f"{device_name(chosen)}, {chosen_precision}, {thread_count(chosen_threads)}"
    notes = [described]
    if chosen_precision == "bf16" and not has_fast_bf16(chosen):
        notes.append("bf16 is computed without units for it here: right, but slower than fp32")
    return Runtime(chosen, chosen_precision, chosen_threads, tuple(notes))


def as_found(device: str = "auto", precision: str = "auto") -> Runtime:
    """Where to compute inside a program of others: its threads and the settings of its process stay as they are.

    Raises:
        TransferkitError: If the device asked for is not there.
    """
    chosen = choose_device(device)
    return Runtime(chosen, choose_precision(chosen, precision), torch.get_num_threads())


def thread_count(threads: int) -> str:
    """A number of threads in words.

    Example:
        >>> thread_count(1), thread_count(4)
        ('1 thread', '4 threads')
    """
    return counted(threads, "thread")


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA, else Apple's MPS, else the CPU.

    Raises:
        TransferkitError: If that device is unknown or absent.
    """
    if distributed.launched().is_shared:
        return device_in_world(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TransferkitError(f"Unknown device {name!r}. Expected auto, cpu, cuda, cuda:1 or mps.") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        raise TransferkitError(
            f"Device {name!r} is not available here. Use --device auto or --device cpu; "
            "`transferkit doctor` shows what this machine has."
        )
    return device


def device_in_world(name: str) -> torch.device:
    """The device of this process, where a launcher has started several: a GPU for each, or the CPU for all.

    Raises:
        TransferkitError: If there are fewer GPUs than processes on this machine, or one device is asked for by number.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name not in ("auto", "cuda") or not torch.cuda.is_available():
        raise TransferkitError(
            f"Device {name!r} is not for several processes here. Expected --device auto or cpu, or cuda where each "
            "process has a GPU of its own."
        )
    number, gpus = distributed.local_rank(), torch.cuda.device_count()
    if number >= gpus:
        raise TransferkitError(
            f"This machine has {counted(gpus, 'GPU')}, and process {number + 1} was started on it. Start "
            "one process per GPU: --devices or --nproc-per-node may be at most that number."
        )
    return torch.device("cuda", number)


def choose_precision(device: torch.device, name: str) -> Precision:
    """bf16 where the hardware computes in it, else fp32, unless one was asked for."""
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    if name not in ("fp32", "bf16"):
        raise TransferkitError(f"Unknown precision {name!r}. Expected auto, fp32 or bf16.")
    return "bf16" if name == "bf16" else "fp32"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 runs on its own units: CUDA since Ampere; CPUs with AMX, and AMD's with avx512_bf16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and has_bf16_units()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; to a GPU through pinned memory, so that the host waits for nothing."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; the one place that touches global random state."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that use the global state
    torch.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed everything inside; afterwards the generators of Python, NumPy and torch go on as if nothing had been."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        seed_everything(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def device_name(device: torch.device) -> str:
    """A name a reader knows: the GPU's model or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({cpu_model()})" if device.type == "cpu" else "Apple GPU (mps)"


def environment(runtime: Runtime) -> Environment:
    """What a reader needs to repeat a run: versions, device, precision, threads, processes."""
    packages = (
        "transferkit",
        "torch",
        "torchvision",
        "timm",
        "scikit-learn",
        "numpy",
        "pillow",
        "safetensors",
    )
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        packages={name: package_version(name) for name in packages},
        device=device_name(runtime.device),
        precision=runtime.precision,
        threads=runtime.threads,
        processes=runtime.world.size,
    )
