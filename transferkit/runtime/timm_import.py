"""timm, imported without torch's compiler."""

from __future__ import annotations

from transferkit.runtime.torch_compiler import imported

timm = imported("timm")
