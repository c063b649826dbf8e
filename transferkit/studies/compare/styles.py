"""Which colour and mark each arm of a comparison has, the same in all its charts."""

from __future__ import annotations

from collections.abc import Sequence

from transferkit.report.svg_marks import Style, styles
from transferkit.studies.compare.results import Arm


def arm_styles(arms: Sequence[Arm]) -> dict[str, Style]:
    """Styles by the names of the arms; an arm that does not know its backbone has a colour of its own.

    Whatever the order of the arms, each keeps its style.
    """
    named = {arm.name: (arm.backbone or arm.name, arm.method) for arm in sorted(arms, key=lambda arm: arm.name)}
    return dict(zip(named, styles(list(named.values())), strict=True))


def by_accuracy(arms: Sequence[Arm]) -> list[Arm]:
    """The arms, the best mean first."""
    return sorted(arms, key=lambda arm: arm.mean, reverse=True)
