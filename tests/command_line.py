"""The command line as a process of its own, and what it refuses."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.cli import app as cli


@dataclass
class Result:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def transferkit(*arguments: str, cwd: Path, **environment: str) -> Result:
    """Run the command in this process, which has torch loaded already."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["transferkit", *arguments])
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return Result(code, stdout.getvalue(), stderr.getvalue())


def image(path: Path, value: int, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 60, (side, side, 3))
    Image.fromarray((noise + value).astype(np.uint8)).save(path)


def refused(result: Result, exit_code: int = 2) -> str:
    assert result.returncode == exit_code, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def heeding_ctrl_c(arguments: Sequence[str], cwd: Path) -> subprocess.Popen[str]:
    """The command in a process of its own; a job in the background ignores SIGINT otherwise."""
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "transferkit", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stderr=pipe, stdout=pipe, text=True, preexec_fn=heeded)
