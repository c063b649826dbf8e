"""What was chosen, and whether the choice lies at the edge of what was tried."""

from __future__ import annotations

from transferkit.checks.finding import Observation
from transferkit.checks.subject import CheckedRun


def C_at_edge(run: CheckedRun) -> Observation | None:
    """The best C of the linear head lies at an end of its grid, and is better than its neighbour there.

    A value beyond may be better still. Where the neighbour does as well, nothing is lost and nothing is said.
    """
    probe = run.probe
    if probe is None or not probe.on_boundary or probe.C is None or len(probe.grid) < 2:
        return None
    is_largest = probe.grid[-1] == probe.C
    edge, neighbour = (probe.validation_accuracy or (0.0, 0.0))[:: -1 if is_largest else 1][:2]
    if edge <= neighbour:
        return None
    observed = f"C = {probe.C:.3g}, the best, is the {'largest' if is_largest else 'smallest'} that was tried"
    beyond = 10 * probe.C if is_largest else probe.C / 10
    if not run.recipe or run.recipe.method.name != "probe":
        return Observation(observed, "compare with a probe that has a larger or smaller C", "")
    return Observation(observed, "try a value beyond it, on val", run.again(f"method.C={beyond:.3g}"))
