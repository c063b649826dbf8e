"""Folders that transferkit owns: only what it wrote there is replaced or removed, and one process works in one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from transferkit.recipe import from_options
from transferkit.runs import result_folders, run_directory
from transferkit.runs.run_directory import Run, claim
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import claim as claim_file
from transferkit.runtime.files import require_free, write_text


def listed(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.iterdir())]


def test_what_is_written_in_a_held_folder_is_listed_before_and_removed_with_it(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with folders.hold(place, "run"):
        write_text(place / "recipe.yaml", "seed: 0")
        write_text(place / "outputs" / "test.txt", "numbers")
        (place / "notes.txt").write_text("mine")
        assert folders.files_of(place) == ("recipe.yaml", "outputs/test.txt")
        folders.remove(place)

    assert listed(place) == [".transferkit.jsonl", ".transferkit.lock", "notes.txt"]
    assert (folders.kind_of(place), folders.files_of(place)) == ("run", ())


def test_a_file_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    with folders.hold(tmp_path, "run"):
        (tmp_path / "report.md").write_text("mine")
        with pytest.raises(TransferkitError, match=r"report.md was not written by transferkit and would be lost"):
            write_text(tmp_path / "report.md", "theirs")

    assert (tmp_path / "report.md").read_text() == "mine"


def test_a_listed_path_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("mine")
    place = tmp_path / "run"
    with folders.hold(place, "run"):
        write_text(place / "recipe.yaml", "")
    with (place / folders.MANIFEST).open("a") as file:
        file.write(json.dumps("../thesis.tex") + "\n" + json.dumps(str(precious)) + "\n")

    with folders.hold(place, "run"):
        folders.remove(place)

    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", ".recipe.yaml.ab12cd_4.partial", ".transferkit.jsonl.new"])
def test_what_a_kill_or_a_file_browser_leaves_does_not_lock_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / name).touch()

    folders.require_kind(tmp_path, "run")


@pytest.mark.parametrize("name", ["recipe.yaml", ".git", "a.partial"])
def test_a_folder_with_other_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / name).touch()

    with pytest.raises(TransferkitError, match="holds other files and is no run"):
        folders.require_kind(tmp_path, "run")


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with folders.hold(tmp_path, "study"):
        write_text(tmp_path / "study.yaml", "")

    with pytest.raises(TransferkitError, match="holds a study and is no run"):
        folders.require_kind(tmp_path, "run")


def test_partial_files_of_listed_ones_are_removed_and_others_stay(tmp_path: Path) -> None:
    with folders.hold(tmp_path, "run"):
        write_text(tmp_path / "model.json", "{}")
    (tmp_path / ".model.json.ab12cd34.partial").touch()
    (tmp_path / ".film.mp4.ab12cd34.partial").touch()

    with folders.hold(tmp_path, "run"):
        pass

    assert [name for name in listed(tmp_path) if name.endswith(".partial")] == [".film.mp4.ab12cd34.partial"]


def test_a_line_that_a_kill_cut_off_is_as_good_as_not_written(tmp_path: Path) -> None:
    with folders.hold(tmp_path, "run"):
        write_text(tmp_path / "model.json", "{}")
    with (tmp_path / folders.MANIFEST).open("a") as file:
        file.write('"evaluat')

    with folders.hold(tmp_path, "run"):
        write_text(tmp_path / "facts.json", "{}")

    assert folders.files_of(tmp_path) == ("model.json", "facts.json")


def test_a_folder_in_which_nothing_was_written_is_gone(tmp_path: Path) -> None:
    with folders.hold(tmp_path / "run", "run"):
        pass

    assert listed(tmp_path) == []


def test_a_folder_in_which_a_killed_command_left_its_lock_alone_is_gone(tmp_path: Path) -> None:
    (tmp_path / "out" / "run").mkdir(parents=True)
    (tmp_path / "out" / "run" / ".transferkit.lock").touch()

    with folders.hold(tmp_path / "out" / "run", "run"):
        pass

    assert listed(tmp_path / "out") == []


def test_folders_made_around_one_in_which_nothing_was_written_are_gone(tmp_path: Path) -> None:
    with folders.hold(tmp_path / "new" / "newer" / "run", "run"):
        pass

    assert listed(tmp_path) == []


HOLD = """
import sys
from pathlib import Path
from transferkit.runtime import folders; from transferkit.runs import result_folders, run_directory
with folders.hold(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_folder_until_that_one_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"

        with (
            pytest.raises(TransferkitError, match=rf"is in use by process {first.pid} on .* since 20.*: -c "),
            folders.hold(tmp_path, "run"),
        ):
            pass
        first.kill()

    with folders.hold(tmp_path, "run"):
        write_text(tmp_path / "recipe.yaml", "")
    assert folders.files_of(tmp_path) == ("recipe.yaml",)


CLAIM = """
import sys
from pathlib import Path
from transferkit.runtime import files
with files.claim(Path(sys.argv[1]), overwrite=False):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def test_a_file_belongs_to_the_process_that_makes_it_however_many_ask(tmp_path: Path) -> None:
    file = tmp_path / "new" / "next.csv"
    command = [sys.executable, "-c", CLAIM, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"claimed\n"
        for _ in range(2):
            with (
                pytest.raises(TransferkitError, match=rf"next.csv.partial is in use by process {first.pid} on"),
                claim_file(file, overwrite=False),
            ):
                pass
        first.kill()

    with claim_file(file, overwrite=False):
        write_text(file, "numbers")
    assert listed(tmp_path / "new") == ["next.csv"]


def test_a_program_that_python_started_by_name_is_told_by_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/lib/transferkit/__main__.py", "compare", "@1"])

    with folders.hold(tmp_path, "run"):
        held_by = json.loads((tmp_path / ".transferkit.holder.json").read_text())

    assert held_by["command"] == "transferkit compare @1"


def test_a_training_under_way_is_told_from_an_unfinished_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with folders.hold(tmp_path, "run"):
        write_text(tmp_path / "recipe.yaml", "")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"

        with pytest.raises(TransferkitError, match=rf"is in use by process {first.pid} on"), claim(tmp_path):
            pass
        first.kill()

    with pytest.raises(TransferkitError, match=r"holds an unfinished run\. Continue it with --resume"), claim(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_linked_folder_is_the_folder_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    with folders.hold(tmp_path / "link", "run"):
        write_text(tmp_path / "real" / "recipe.yaml", "")

    assert folders.files_of(tmp_path / "link") == ("recipe.yaml",)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_that_leads_nowhere_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "figure.png").symlink_to("not mounted")

    with pytest.raises(TransferkitError, match=r"figure\.png exists\. Choose another file with --out"):
        require_free(tmp_path / "figure.png", overwrite=False)


def test_a_run_that_is_made_again_loses_its_limits_report_and_no_file_of_the_user(tmp_path: Path) -> None:
    run = Run(tmp_path)
    recipe = from_options("scratch", "resnet20", "digits", {}, ())
    run_directory.prepare_run_folder(run, recipe, resume=False)
    report = tmp_path / "limits"
    with result_folders.hold_results(report, result_folders.LIMITS):
        write_text(report / "limits.json", "{}")
        write_text(report / "figs" / "sweep.svg", "<svg/>")
    (report / "figs" / "mine.svg").write_text("mine")

    run_directory.prepare_run_folder(run, recipe, resume=False)

    kept = [path.relative_to(report).as_posix() for path in report.rglob("*") if path.is_file()]
    assert [name for name in kept if not name.startswith(".transferkit")] == ["figs/mine.svg"]
    assert (tmp_path / "recipe.yaml").exists()


def test_a_folder_called_limits_that_holds_something_else_stays(tmp_path: Path) -> None:
    recipe = from_options("scratch", "resnet20", "digits", {}, ())
    run_directory.prepare_run_folder(Run(tmp_path), recipe, resume=False)
    (tmp_path / "limits").mkdir()
    (tmp_path / "limits" / "limits.json").write_text("mine")

    run_directory.prepare_run_folder(Run(tmp_path), recipe, resume=False)

    assert (tmp_path / "limits" / "limits.json").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has /proc")
@pytest.mark.parametrize("path", ["/proc/x/report", "/dev/null/x"])
def test_a_place_where_nothing_can_be_made_is_refused_before_any_work(path: str) -> None:
    with pytest.raises(TransferkitError, match=r"You may not write to /proc\.|/dev/null is a file\.") as refusal:
        folders.require_kind(Path(path), "run")

    assert refusal.value.exit_code == 2
    with pytest.raises(TransferkitError, match=r"You may not write to /proc\.|/dev/null is a file\."):
        require_free(Path(path) / "figure.png", overwrite=False)


def test_a_read_only_disk_is_told_and_a_tried_folder_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.require_writable(tmp_path / "new" / "run")
    assert listed(tmp_path) == []

    def read_only(**_: object) -> str:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    with pytest.raises(TransferkitError, match="You may not write to"):
        folders.require_writable(tmp_path)
