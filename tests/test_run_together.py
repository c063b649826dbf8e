"""A run that several processes carry out: the same result as one process's, and what happens when one of them dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import image
from several_processes import Ended, command
from torch import Tensor

from transferkit.metrics.history import Epoch
from transferkit.runs.run_directory import Run
from transferkit.runtime import distributed, launch
from transferkit.runtime.distributed import World
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.extras import Extras
from transferkit.runtime.files import read_tensors
from transferkit.training import checkpoint, loop

pytestmark = pytest.mark.scale

# A head that begins large (C = 1) makes steps of 0.02 unstable: they enlarge rounding to 3e-5, steps of 0.005 to 3e-8.
KEYS = ["--data", "digits", "--weights", "none", "--limit-per-class", "12", "--threads", "1", "--precision", "fp32"]
TYPED = ["finetune", "resnet-mini", *KEYS, "--epochs", "4", "--no-refit", "--batchnorm", "eval", "--optimizer", "sgd"]
TYPED += ["--lr", "0.005", "--weight-decay", "0", "--batch-size", "32", "--out", "run"]


def weights(folder: Path) -> dict[str, Tensor]:
    return read_tensors(folder / "run" / "model.safetensors")[0]


def difference(one: Path, other: Path) -> float:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def finished(processes: int, folder: Path, *more: str) -> Path:
    folder.mkdir(exist_ok=True)
    ended = command(processes, [*TYPED, *more], folder)
    assert ended.codes == [0] * processes, "".join(ended.stderr)
    return folder


def killed(rank: int, folder: Path) -> Ended:
    """A run of two processes, of which one is killed before the third epoch."""

    def die(own: int) -> None:
        checkpoint.SECONDS_BETWEEN_SAVES = 0.0
        run_epoch = loop.run_epoch

        def dying(training: checkpoint.Training, *others: Any) -> Epoch:
            if own == rank and training.epochs == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return run_epoch(training, *others)

        loop.run_epoch = dying

    return command(2, TYPED, folder, die)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A run whose second process was killed, and how it ended."""
    folder = tmp_path_factory.mktemp("interrupted")
    return folder, killed(1, folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(2, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(1, tmp_path_factory.mktemp("one"))


def test_two_processes_predict_as_one(one: Path, two: Path) -> None:
    test, expected = (Run(folder / "run").outputs("test") for folder in (two, one))

    assert difference(two, one) < 1e-5
    assert test.ids == expected.ids
    assert np.array_equal(test.logits.argmax(1), expected.logits.argmax(1))


def test_one_process_alone_writes_and_talks(two: Path) -> None:
    run = Run(two / "run")

    assert (two / "stderr-1").read_text() + (two / "stdout-1").read_text() == ""
    assert run.facts.test_openings == 1
    assert "2 processes trained together, each on its part of every step" in run.facts.notes


def test_death_of_a_process_ends_the_other_soon_with_a_message(interrupted: tuple[Path, Ended]) -> None:
    _, ended = interrupted

    message = " ".join(ended.stderr[0].split())
    assert ended.codes == [1, -signal.SIGKILL]
    assert ended.seconds < 30
    assert "error: Another process of this run has ended, so this one cannot go on" in message
    assert "continue with the same command and --resume, with as many processes as you like." in message


def test_death_of_the_one_that_leads_ends_the_other_soon(tmp_path: Path) -> None:
    ended = killed(0, tmp_path)

    assert ended.codes == [-signal.SIGKILL, 1]
    assert ended.seconds < 30


@pytest.mark.parametrize(("processes", "most"), [(2, 0.0), (1, 1e-5), (3, 1e-5)])
def test_run_goes_on_with_any_number_of_processes(
    processes: int, most: float, interrupted: tuple[Path, Ended], two: Path, tmp_path: Path
) -> None:
    shutil.copytree(interrupted[0] / "run", tmp_path / "run")

    finished(processes, tmp_path, "--resume")

    assert difference(tmp_path, two) <= most
    assert len(Run(tmp_path / "run").history) == 5


def test_mistake_is_told_once_and_ends_all(tmp_path: Path) -> None:
    ended = command(2, [*TYPED, "--freeze-to", "stage9"], tmp_path)

    assert ended.codes == [2, 1]
    assert "error: Unknown stage 'stage9'" in ended.stderr[0]
    assert ended.stderr[1] == ""


def test_step_with_fewer_images_than_processes_is_refused(tmp_path: Path) -> None:
    ended = command(3, [*TYPED, "--batch-size", "2"], tmp_path)

    assert ended.codes[0] == 2
    assert "A step of 2 images cannot be shared by 3 processes." in ended.stderr[0]


def test_command_that_trains_nothing_lets_the_others_go(tmp_path: Path) -> None:
    ended = command(2, ["finetune", "resnet-mini", *KEYS, "--dry-run"], tmp_path)

    assert ended.codes == [0, 0]


def test_training_that_is_no_run_is_done_by_the_first_process_alone(tmp_path: Path) -> None:
    ended = command(2, ["lr-find", "resnet-mini", *KEYS, "--batch-size", "16"], tmp_path)

    assert ended.codes == [0, 0]
    assert "Suggested rate of resnet-mini" in (tmp_path / "stdout-0").read_text() + ended.stderr[0]
    assert (tmp_path / "stdout-1").read_text() + ended.stderr[1] == ""


@pytest.mark.parametrize(
    "typed",
    [
        ["predict", "run", "picture.png"],
        ["next", "run", "--field", "picture.png", "-n", "1"],
        ["extract", "resnet-mini", "picture.png", "--weights", "none", "--out", "features.npy"],
        ["corrupt", "picture.png", "--name", "fog", "--out", "copies"],
        ["card", "run"],
        ["export", "run", "--to", "torch-export", "--out", "model.pt2"],
        ["shifts", "run"],
        ["modes", "run", "--passes", "2"],
    ],
    ids=lambda typed: typed[0],
)
def test_command_on_a_finished_run_is_answered_by_the_first_process_as_by_one(
    typed: list[str], one: Path, tmp_path: Path
) -> None:
    answers = []
    for processes in (1, 2):
        place = tmp_path / str(processes)
        shutil.copytree(one / "run", place / "run")
        image(place / "picture.png", 90)
        ended = command(processes, typed, place)
        assert ended.codes == [0] * processes, "".join(ended.stderr)
        answers.append((place / "stdout-0").read_text())

    assert answers[0] == answers[1]
    assert (tmp_path / "2" / "stdout-1").read_text() + ended.stderr[1] == ""
    assert written(tmp_path / "2") - {Path("stdout-1"), Path("stderr-1")} == written(tmp_path / "1")


def written(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def test_ctrl_c_is_answered_once(tmp_path: Path) -> None:
    def be_stopped_where_they_meet(_: int) -> None:
        distributed.join = interrupted_join  # of this forked process alone

    def interrupted_join() -> World:
        raise KeyboardInterrupt

    ended = command(2, TYPED, tmp_path, be_stopped_where_they_meet)

    assert ended.codes == [130, 130]
    assert ended.stderr == ["error: Stopped.\n", ""]


def test_sigterm_stops_also_what_a_run_can_do_without(tmp_path: Path) -> None:
    def be_stopped_beside_the_results(_: int) -> None:
        attempt = Extras.attempt

        def stopped(extras: Extras, what: str, make: Callable[[], Any]) -> Any:
            return attempt(extras, what, lambda: os.kill(os.getpid(), signal.SIGTERM) or make())

        Extras.attempt = stopped  # of this forked process alone

    ended = command(2, TYPED, tmp_path, be_stopped_beside_the_results)

    assert ended.codes == [143, 1]
    assert "error: Stopped. " in ended.stderr[0]
    assert ended.stderr[1] == ""


# ------------------------------------------------------------------------------------------------------ --devices


def test_devices_start_the_processes_themselves(one: Path, tmp_path: Path) -> None:
    typed = [sys.executable, "-m", "transferkit", *TYPED, "--devices", "2", "--json"]

    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)

    assert "Starting 2 processes, one per device ..." in done.stderr
    assert json.loads(done.stdout)["run"] == "run"
    assert difference(tmp_path, one) < 1e-5


@pytest.fixture
def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that processes run in place of a training."""
    monkeypatch.setattr(launch, "MEMBER", "toy_member")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "toy_member.py"


SHARED = launch.SharedRun("", "run", False, False, "", True)


def test_killed_process_is_named(member: Path) -> None:
    member.write_text("import os, signal, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n")

    with pytest.raises(MachineError, match=r"Process 2 of 2 was killed \(SIGKILL\). The others were stopped. Continue"):
        launch.start(2, "cpu", SHARED)


def test_error_of_a_process_is_that_of_the_command(member: Path) -> None:
    member.write_text(
        "import os, sys, pathlib\n"
        "place = pathlib.Path(sys.argv[1]).parent\n"
        '(place / \'fault-00000.json\').write_text(\'{"message": "No such data.", "exit_code": 2}\')\n'
        "sys.exit(2)\n"
    )

    with pytest.raises(TransferkitError, match=r"^No such data\.$") as caught:
        launch.start(2, "cpu", SHARED)
    assert caught.value.exit_code == 2


def test_processes_share_the_cores(member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(launch, "usable_cores", lambda: 7)
    member.write_text(
        "import os, pathlib\n"
        "pathlib.Path(__file__).with_name(os.environ['RANK']).write_text(os.environ['OMP_NUM_THREADS'])\n"
    )

    launch.start(2, "cpu", SHARED)

    assert [member.with_name(rank).read_text() for rank in "01"] == ["3", "3"]
    assert "OMP_NUM_THREADS" not in os.environ
