"""One of several processes that carry out a run together; another one starts it: `-m transferkit.cli.member FILE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from transferkit import recipe as recipes
from transferkit.cli.ending import exit_code_of, heeding_sigterm
from transferkit.run import run
from transferkit.runtime import distributed, launch
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, Stopped, TransferkitError, reason
from transferkit.runtime.records import read_record


def main(path: Path) -> int:
    """Do what a file says with the other processes; the exit code. What failed is left beside the file."""
    try:
        with heeding_sigterm():
            carry_out(read_record(path, launch.SharedRun))
    except distributed.PeerLost:
        return 1  # the one that was lost is what matters
    except KeyboardInterrupt:
        return exit_code_of(Stopped.exit_code)
    except TransferkitError as error:
        launch.tell(path, distributed.launched().rank, error)
        return error.exit_code
    except Exception as error:
        launch.tell(path, distributed.launched().rank, MachineError(f"A fault of transferkit: {reason(error)}."))
        return 1
    return 0


def carry_out(work: launch.SharedRun) -> None:
    """The run itself, in the process that leads; the others help it."""
    run(
        recipes.Recipe.from_yaml(work.recipe),
        Path(work.out),
        overwrite=work.overwrite,
        resume=work.resume,
        console=Console(quiet=work.quiet),
        command=work.command,
    )


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: a library may wait for processes that are no more
