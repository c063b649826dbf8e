"""Executors: the same work wherever it runs, failures and lost workers included."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pytest
import scripted_work as work
from rich.console import Console as RichConsole
from scripted_work import task
from typer.testing import CliRunner

from transferkit import executors
from transferkit.cli.app import app
from transferkit.executors import EXECUTORS, Task, carry_out, slurm, workers
from transferkit.executors.board import Board
from transferkit.executors.ray_address import joining, require_answer
from transferkit.executors.tasks import last_line
from transferkit.recipe.workplace import ExecutorName
from transferkit.runtime import folders
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import TransferkitError

APART = [
    pytest.param("processes"),
    pytest.param("slurm", marks=pytest.mark.scale),
    pytest.param("ray", marks=pytest.mark.scale),
]


@pytest.fixture(autouse=True)
def _jobs_of_slurm_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    places = (str(Path(work.__file__).parent), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))  # where the workers of Slurm and Ray look for modules


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "study"
    with folders.hold(folder, "study"):
        yield folder


@contextmanager
def spoken() -> Iterator[tuple[Console, io.StringIO]]:
    stream = io.StringIO()
    yield Console(stream=stream), stream


def test_every_executor_that_a_recipe_may_name_is_on_the_menu() -> None:
    assert list(EXECUTORS) == list(get_args(ExecutorName))
    assert {name for name, module in EXECUTORS.items() if module.IS_APART} == {"processes", "slurm", "ray"}


def test_an_executor_needs_no_more_than_a_few_lines() -> None:
    for module in EXECUTORS.values():
        lines = Path(str(module.__file__)).read_text().splitlines()
        assert len([line for line in lines if line.strip() and "import" not in line]) <= 30, module.__name__


@pytest.mark.parametrize("name", ["here", *APART])
def test_work_is_done_a_failure_costs_the_others_nothing_and_a_lost_worker_is_replaced(name: str, held: Path) -> None:
    calls = {"one": work.write, "two": work.fail, "three": work.write}
    if name != "here":
        calls["four"] = work.die_once
    tasks = [task(call, held / file) for file, call in calls.items()]

    failures = carry_out(tasks, name, 2 if name != "here" else None, held, SILENT)

    assert failures == {"two": "two has no images."}
    assert [(held / file).read_text() for file in ("one", "three")] == ["one", "three"]
    assert name == "here" or (held / "four").read_text() == "ab"
    assert [file for file in folders.files_of(held) if not file.startswith("logs/")] == list(calls)


def test_two_workers_work_at_the_same_time(held: Path) -> None:
    tasks = [task(work.wait_for_other, held / "a", held / "b"), task(work.wait_for_other, held / "b", held / "a")]

    assert carry_out(tasks, "processes", 2, held, SILENT) == {}


def test_a_task_that_costs_three_workers_is_given_up(held: Path) -> None:
    tasks = [task(work.die, held / "deadly"), task(work.write, held / "good")]

    failures = carry_out(tasks, "processes", 1, held, SILENT)

    assert (held / "deadly.tries").read_text() == "xxx"
    assert failures["deadly"] == (
        "3 workers were lost at it, so it was given up. The last one: killed by SIGKILL, as where memory runs out"
    )
    assert (held / "good").read_text() == "good"


@pytest.mark.slow
def test_workers_of_a_killed_command_end_soon_after_it(tmp_path: Path) -> None:
    command = subprocess.Popen([sys.executable, work.__file__, str(tmp_path)])
    until = time.monotonic() + 60
    while not (note := tmp_path / "long.pid").exists() or not note.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)

    command.kill()
    command.wait()

    while Path(f"/proc/{note.read_text()}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_log_of_a_failure_is_kept_and_belongs_to_the_folder(held: Path) -> None:
    carry_out([task(work.fail, held / "bad"), task(work.write, held / "good")], "processes", 1, held, SILENT)

    assert [path.name for path in (held / "logs").iterdir()] == ["bad.log"]
    assert last_line(held / "logs" / "bad.log") == "reading the images"
    assert "logs/bad.log" in folders.files_of(held)


def test_the_log_of_stopped_work_belongs_to_the_folder_too(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_once_it_works(_: Board) -> None:
        if (held / "logs" / "long.log").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(Board, "look", stop_once_it_works)

    with pytest.raises(KeyboardInterrupt):
        carry_out([task(work.wait, held / "long")], "processes", 1, held, SILENT)

    assert "logs/long.log" in folders.files_of(held)


@pytest.mark.parametrize("executor", ["here", "processes"])
@pytest.mark.parametrize("is_finished", [False, True])
def test_the_log_that_a_killed_command_left_of_a_task_goes_with_it(
    executor: str, is_finished: bool, held: Path
) -> None:
    (held / "logs").mkdir()
    (held / "logs" / "arm.log").write_text("epoch 1 of 2")
    (held / "logs" / "mine.txt").write_text("mine")

    carry_out([Task("arm", work.write, (held / "arm",), held / "arm", is_finished)], executor, None, held, SILENT)

    assert [path.name for path in (held / "logs").iterdir()] == ["mine.txt"]
    assert "logs/arm.log" not in folders.files_of(held)


def test_a_failure_here_leaves_no_log_of_an_earlier_one(held: Path) -> None:
    tasks = [task(work.fail, held / "bad")]
    carry_out(tasks, "processes", 1, held, SILENT)

    carry_out(tasks, "here", None, held, SILENT)

    assert not (held / "logs").exists()


def test_the_log_of_a_task_under_way_belongs_to_the_folder(held: Path) -> None:
    listed: list[bool] = []

    def look(_: Board) -> None:
        listed.append("logs/good.log" in folders.files_of(held))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Board, "look", look)
        carry_out([task(work.write, held / "good")], "processes", 1, held, SILENT)

    assert listed[0]
    assert folders.files_of(held) == ("good",)


def test_what_was_finished_is_not_done_again(held: Path) -> None:
    finished = Task("arm", work.fail, (held / "arm",), held / "arm", is_finished=True)

    with spoken() as (console, stream):
        assert carry_out([finished], None, None, held, console) == {}

    assert stream.getvalue() == "arm (1 of 1)\nfinished earlier, not done again\n"


def test_where_no_table_can_live_lines_say_what_changes(held: Path) -> None:
    with spoken() as (console, stream):
        carry_out([task(work.write, held / "good"), task(work.fail, held / "bad")], "processes", 1, held, console)

    lines = stream.getvalue().splitlines()
    assert lines[0] == "good (1 of 2)"
    assert lines[1].startswith("good: finished in ")
    assert lines[2:] == ["bad (2 of 2)", "failed: bad: bad has no images."]


@pytest.mark.parametrize("name", ["here", *APART])
def test_what_several_arms_find_is_told_once_wherever_they_run(name: str, held: Path) -> None:
    tasks = [task(work.remark, held / place) for place in ("bad", "one", "two")]

    with spoken() as (console, stream):
        carry_out(tasks, name, 2 if name != "here" else None, held, console)

    assert stream.getvalue().count("TK011 No val images.\n") == 1


def test_one_table_shows_all_arms_in_80_columns(tmp_path: Path) -> None:
    tasks = [task(work.write, tmp_path / f"finetune-{number}") for number in range(60)]
    stream = io.StringIO()
    console = Console(stream=stream, _rich=RichConsole(file=stream, width=80, height=12, force_terminal=True))
    board = Board(console, tasks, lambda task: tmp_path / f"{task.name}.log")
    (tmp_path / "finetune-1.log").write_text("epoch 3 of 10\n" + "loss " * 40 + "\n")

    with board:
        board.start(tasks[0], 1)
        board.start(tasks[1], 2)
        board.end(tasks[0], "no images")
        board.look()
    shown = io.StringIO()
    RichConsole(file=shown, width=80).print(board.table())

    lines = shown.getvalue().splitlines()
    assert "58 waiting" in stream.getvalue()
    assert [line.split()[:2] for line in lines[1:3]] == [["finetune-0", "failed"], ["finetune-1", "running"]]
    assert "loss loss" in lines[2]
    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == "1 failed, 1 running, 58 waiting"
    assert len(lines) == 1 + 8 + 1  # a title, what a terminal of 12 lines has room for, how many


@pytest.mark.parametrize(("name", "extra"), [("ray", "ray"), ("slurm", "slurm")])
def test_a_missing_engine_is_one_line_that_names_the_extra(
    name: str, extra: str, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(
        TransferkitError, match=rf'^--executor {name} needs .* Type: pip install "transferkit\[{extra}\]"$'
    ):
        carry_out([task(work.write, held / "a")], name, 1, held, SILENT)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_engine_that_is_kept_out_counts_as_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"ray": "ray", "slurm": "submitit"}[name]
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(
        TransferkitError, match=rf"^--executor {name} needs {package}, which is not installed\. Type: pip"
    ):
        executors.require(name)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_does_not_import_is_one_line_that_says_why(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{package}.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)

    with pytest.raises(
        TransferkitError,
        match=rf"^--executor {name} needs {package}, which is installed and cannot be imported \(ModuleNotFoundError: "
        rf"No module named 'no_such_library'\)\. Type: pip install --force-reinstall \"transferkit\[{name}\]\"$",
    ):
        executors.require(name)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "127.0.0.1:9",
            r"^No Ray cluster answers at RAY_ADDRESS=127.0.0.1:9 \(.+\)\. Start it with `ray start --head`",
        ),
        ("head", r"^RAY_ADDRESS is 'head'\. Expected host:port, ray://host:port, auto or local\.$"),
        ("head:port", r"^RAY_ADDRESS is 'head:port'\. Expected host:port"),
    ],
)
def test_a_ray_cluster_that_is_not_there_is_refused_at_once(address: str, message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        require_answer(address)


def test_a_ray_cluster_that_ray_itself_does_not_find_is_one_message() -> None:
    message = r"^No Ray cluster answers at RAY_ADDRESS=auto \(Could not find any running Ray instance\)\. Start it"
    with pytest.raises(TransferkitError, match=message), joining("auto"):
        raise ConnectionError("Could not find any running Ray instance.\nMore words.")


def test_more_workers_than_work_leave_each_its_whole_share(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    @contextmanager
    def pool(count: int) -> Iterator[workers.Submit]:
        asked.append(count)
        with EXECUTORS["here"].pool(1) as submit:
            yield submit

    monkeypatch.setattr(EXECUTORS["processes"], "pool", pool)

    carry_out([task(work.write, held / name) for name in "ab"], "processes", 8, held, SILENT)

    assert asked == [2]


def test_without_slurm_nothing_runs_in_its_place(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "slurm")
    monkeypatch.setenv("PATH", "")

    with pytest.raises(TransferkitError, match="needs Slurm's command sbatch, which is not here"):
        carry_out([task(work.write, held / "a")], "slurm", 1, held, SILENT)


@pytest.mark.parametrize("command", [["compare", "resnet20=none"], ["rank", "resnet20=none"], ["tune", "resnet20"]])
def test_an_executor_that_cannot_work_here_is_refused_before_any_work(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "slurm")
    monkeypatch.setenv("PATH", "")
    weights = ["--weights", "none"] if command[0] == "tune" else []

    options = ["--data", "digits", *weights, "--executor", "slurm", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, *options])

    assert "needs Slurm's command sbatch" in str(result.exception)
    assert not (tmp_path / "out").exists()
    assert "Estimate" not in result.output


def test_each_worker_has_its_share_of_the_cores_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.runtime.processor.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(workers, "gpus", lambda: ["4", "5"])

    assert [workers.environment_of(number, 3) for number in range(3)] == [
        {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "4"},
        {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "5"},
        {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "4"},
    ]


@pytest.mark.parametrize("command", [["compare", "resnet20=none"], ["tune", "resnet20"], ["rank", "resnet20=none"]])
def test_workers_without_an_executor_are_refused(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--data", "digits", "--workers", "2"])

    assert isinstance(result.exception, TransferkitError)
    assert "workers: 2 has no effect where arms run here, one after the other. Add --executor processes" in str(
        result.exception
    )


def test_importing_the_room_loads_no_torch() -> None:
    code = "import sys, transferkit.executors; print('torch' in sys.modules, 'ray' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "False False\n"
    assert executors.is_apart("ray")


@pytest.mark.parametrize("name", ["processes", "ray", "slurm"])
def test_an_executor_under_torchrun_is_refused_before_its_workers_wait_for_each_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(TransferkitError, match=rf"--executor {name} gives each run a process of its own\. Leave one"):
        executors.require(name)

    executors.require("here")
