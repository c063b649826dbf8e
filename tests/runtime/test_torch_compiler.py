"""Training does without torch's compiler, and leaves it to those who want it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transferkit.runtime import torch_compiler

pytestmark = pytest.mark.slow  # each test starts Python anew

AFTERWARDS = """
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item()
weight = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([weight], lr=0.5)
weight.sum().backward()
torch.compile(optimizer.step, backend="eager")()
print(before, compiled, weight.item(), "torch._dynamo" in sys.modules)
"""


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code + AFTERWARDS], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_a_fine_tuning_loads_no_compiler_and_leaves_it_usable(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(8):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{index}.png")
    options = f"weights='none', size=16, epochs=1, out={str(tmp_path / 'run')!r}, quiet=True"

    code = (
        "import sys, torch, transferkit\n"
        f"transferkit.finetune('resnet-mini', {f'folder:{tmp_path}/images'!r}, {options})\n"
        "before = 'torch._dynamo' in sys.modules\n"
    )

    assert printed(code) == "False 2.0 0.5 True"


def test_a_network_whose_weights_are_all_replaced_loads_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from transferkit.models.undrawn import without_memory\n"
        "from transferkit.runtime.torchvision_import import models\n"
        "with without_memory(): places = {value.device.type for value in models.resnet18().parameters()}\n"
        "before = places, 'torch._dynamo' in sys.modules\n"
    )

    assert printed(code) == "({'meta'}, False) 2.0 0.5 True"


def test_what_the_stand_in_lacks_is_asked_of_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from transferkit.runtime.torch_compiler import compiler_left_out\n"
        "with compiler_left_out():\n"
        "    import torch._dynamo\n"
        "    before = torch._dynamo.is_compiling(), sys.modules['torch._dynamo'].__name__\n"
    )

    assert printed(code) == "(False, 'torch._dynamo') 2.0 0.5 True"


def test_a_step_leaves_no_gradient_and_is_torchs_own() -> None:
    weight, same = (torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2))
    for value, step in ((weight, torch_compiler.take_step), (same, torch.optim.SGD.step)):
        optimizer = torch.optim.SGD([value], lr=0.5)
        value.square().sum().backward()
        step(optimizer)

    assert weight.tolist() == same.tolist() == [0.0, 0.0]  # w - 0.5 * 2 w
    assert weight.grad is None
