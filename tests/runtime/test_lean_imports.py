"""torchvision and timm come without torch's compiler, which is there as soon as somebody asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # each test starts Python anew

SLOW = "{'torch._dynamo', 'torch._inductor', 'scipy', 'sklearn', 'timm', 'matplotlib'}"


def printed(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_prediction_loads_neither_the_compiler_nor_scipy_nor_timm() -> None:
    code = "import sys, transferkit.deploy.answers, transferkit.models.backbones.torchvision_models; "

    assert printed(code + f"print({SLOW} & set(sys.modules))") == "set()"


def test_torchvision_asks_the_real_compiler_once_it_is_needed() -> None:
    code = (
        "import transferkit.runtime.torchvision_import, torch; "
        "from torchvision.ops.roi_align import is_compile_supported; "
        "print(is_compile_supported('cpu'), torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item())"
    )

    assert printed(code) == "True 2.0"


def test_counting_operations_loads_no_compiler_and_leaves_it_usable() -> None:
    code = (
        "import sys, torch; from transferkit.models import backbones; "
        "from transferkit.recipe import backbone_settings; "
        "from transferkit.models.receptive_fields import total_flops; "
        "body = backbones.load_undrawn(backbone_settings({'name': 'lenet', 'weights': 'none'}), ('a', 'b'), 32).body; "
        "count, loaded = total_flops(body, 32), 'torch._dynamo' in sys.modules; "
        "compiled = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item(); "
        "print(loaded, compiled, total_flops(body, 32) == count)"
    )

    assert printed(code) == "False 2.0 True"


def test_timm_comes_without_the_compiler_and_leaves_it_usable() -> None:
    code = (
        "import sys, torch, transferkit.models.backbones.timm_models; "
        "loaded = 'torch._dynamo' in sys.modules; "
        "compiled = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1)).item(); "
        "print(loaded, compiled)"
    )

    assert printed(code) == "False 2.0"
