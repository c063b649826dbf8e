"""A disk that is full, or has no locks: one line that says which, and how to go on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import filelock
import pytest

from transferkit.cli.terminal import working
from transferkit.runtime import cached_files, files, folders
from transferkit.runtime.errors import FullDisk, MachineError
from transferkit.runtime.full_disk import full_disk

GO_ON = "Go on with the same command and --resume."


def no_room(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_to_free_depends_on_where_the_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    workshop = Path(tempfile.gettempdir()) / "transferkit-export-1"

    for path, words in (
        (tmp_path / "run" / "model.safetensors", "choose another folder with --out"),
        (tmp_path / "cache" / "images" / "x.npy", "set TRANSFERKIT_CACHE to a folder on another disk"),
        (workshop / "model.onnx", "set TMPDIR to a folder on another disk"),
    ):
        assert str(full_disk(path)) == f"Cannot write {path}: the disk is full. Free some space, or {words}."


def test_a_command_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", no_room)

    with pytest.raises(FullDisk, match=rf"file\.txt: the disk is full\. .* with --out\. {GO_ON}$"), working(GO_ON):
        files.write_text(tmp_path / "file.txt", "text")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_that_a_library_tells_is_one_too(number: int) -> None:
    with pytest.raises(FullDisk, match=rf"Cannot write a\.npy: the disk is full\. .* {GO_ON}$"), working(lambda: GO_ON):
        raise OSError(number, os.strerror(number), "a.npy")


def test_another_fault_of_the_disk_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="Permission denied"), working(GO_ON):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "a.npy")


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock.FileLock, "acquire", no_locks)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))

    message = r"Cannot lock .*run: No locks available\. Choose another folder with --out"
    with pytest.raises(MachineError, match=message), folders.hold(tmp_path / "run", "test"):
        pass
    with pytest.raises(OSError, match=r"No locks available: .*cache/images/\.transferkit\.lock"):
        cached_files.will_write(tmp_path / "cache" / "images" / "x")


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no file")
def test_answers_that_outgrow_the_limit_of_a_file_name_it(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    code = f"""
import resource
from pathlib import Path
from transferkit.cli.terminal import working
from transferkit.deploy.answer_rows import AnswerRow, Journal

resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
with working({GO_ON!r}):
    Journal(Path({str(journal)!r})).append(AnswerRow("a.jpg", "cat", 1.0, False, 50, (), "") for _ in range(100))
"""

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert f"Cannot write {journal}: it would be larger than a file may be here. Raise the limit" in ended.stderr
