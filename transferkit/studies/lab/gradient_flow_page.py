"""A measurement of gradient flow as words, a table on the terminal, a page and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report.matplotlib_figures import STYLE
from transferkit.report.page import rendered
from transferkit.report.svg_lines import Frame, Line, svg, ticks
from transferkit.report.svg_log_axis import log_ticks
from transferkit.report.svg_marks import KeyEntry, Style, styles
from transferkit.runtime.console import printable
from transferkit.runtime.files import write_atomically
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.gradient_flow_results import GradientFlow, NetworkFlow, OverSeeds, TwinComparison

FOLDER = Path(__file__).parent

DASHES = ("solid", "dashed", "dotted", "dashdot")


def moments(flow: GradientFlow) -> dict[str, str]:
    """The two moments in words."""
    return {"start": "before training", "trained": f"after {counted(flow.epochs, 'epoch')}"}


def sentences(flow: GradientFlow) -> list[str]:
    """What the measurement shows of each pair of twins and along each plain network, and nothing more."""
    lines = [comparison(row, moments(flow)[row.moment], flow.seeds) for row in flow.comparisons]
    plain = dict.fromkeys(row.plain for row in flow.comparisons)
    return lines + [along(name, _first_over_last(flow.networks[name], moments(flow))) for name in plain]


def headline(flow: GradientFlow) -> str:
    """The largest difference between twins on which the seeds agree."""
    agreed = [row for row in flow.comparisons if flow.seeds == 1 or not row.low < 1 < row.high]
    if not agreed:
        return "Seeds disagree whether plain or residual networks have the larger early gradients"
    row = max(agreed, key=lambda row: abs(math.log(row.mean)) if row.mean > 0 else math.inf)
    smaller, larger = (row.plain, row.residual) if row.mean < 1 else (row.residual, row.plain)
    times = number(max(row.mean, 1 / row.mean)) if row.mean > 0 else "infinitely many"
    return f"Early gradients of {smaller} are {times} times smaller than those of {larger} {moments(flow)[row.moment]}"


def _first_over_last(network: NetworkFlow, moment_words: Mapping[str, str]) -> dict[str, float]:
    return {words: network.moments[moment].first_over_last.mean for moment, words in moment_words.items()}


def along(name: str, ratios: Mapping[str, float]) -> str:
    """How the gradients of one network change on their way from its last layers to its first.

    Example:
        >>> along("plain56", {"before training": 510.0, "after 1 epoch": 0.085})
        'on the way to the image, gradients of plain56 grow 510 times before training, shrink to 0.085 after 1 epoch.'
    """
    parts = [
        f"{'grow' if r >= 1 else 'shrink to'} {number(r)}{' times' if r >= 1 else ''} {w}" for w, r in ratios.items()
    ]
    return f"on the way to the image, gradients of {name} {', '.join(parts)}."


def comparison(row: TwinComparison, moment: str, seeds: int) -> str:
    """One plain network beside its residual twin.

    Example:
        >>> row = TwinComparison("plain56", "resnet56", "trained", 0.061, low=0.03, high=0.2, per_seed=())
        >>> comparison(row, "after 1 epoch", 3)
        "after 1 epoch, early gradients of plain56 are 0.061 times resnet56's (0.030 to 0.20 over 3 seeds)."
    """
    spread = f"({number(row.low)} to {number(row.high)} over {counted(seeds, 'seed')})"
    plain, residual = row.plain, row.residual
    if seeds > 1 and row.low < 1 < row.high:
        return f"{moment}, seeds disagree whether early gradients of {plain} or of {residual} are larger {spread}."
    return f"{moment}, early gradients of {plain} are {number(row.mean)} times {residual}'s {spread}."


def number(value: float) -> str:
    """Two digits that count.

    Example:
        >>> number(591.86), number(4.557), number(0.0094), number(0)
        ('590', '4.6', '0.0094', '0')
    """
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, 1 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def notes(flow: GradientFlow) -> list[str]:
    """How the numbers were made."""
    return [
        f"n = {counted(flow.n, 'training image')} of {flow.data} at {flow.size_px} px, in batches of 128, in train "
        f"mode; {counted(flow.seeds, 'seed')}; trained on {counted(flow.train_images, 'image')}; "
        f"{flow.device}, fp32.",
        "Norm: the Euclidean norm of the gradient of the mean cross-entropy by one layer's weights. Early: the "
        "geometric mean over the first third of the layers; twins have the same layers, so norms can be compared.",
        "First / last: of the first third of the layers over the last third, the head left out; of norms divided by "
        "the norms of the weights; the geometric mean over seeds, with the least and the greatest.",
        "The plain and the residual networks have BatchNorm. He et al. (2016, section 4.1) found that with it the "
        "gradients of plain networks do not vanish, and did not blame them for the worse training: a ratio far from 1 "
        "is a difference between the twins, and not by itself the reason why one trains better.",
        "What is measured here need not hold for other images, sizes or rates.",
    ]


def rows(flow: GradientFlow) -> list[list[str]]:
    """Network, layers, first over last third at both moments, loss of the last epoch."""
    return [
        [
            name,
            str(len(network.layers)),
            *(_ratio(norms.first_over_last) for norms in network.moments.values()),
            _loss(network.loss),
        ]
        for name, network in flow.networks.items()
    ]


def _ratio(ratio: OverSeeds) -> str:
    return f"{number(ratio.mean)} ({number(ratio.low)}-{number(ratio.high)})"


def _loss(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}"


def titles(flow: GradientFlow) -> list[str]:
    """Of the table's columns."""
    return ["network", "layers", *(f"first / last, {moment}" for moment in moments(flow).values()), "loss"]


def verdict(flow: GradientFlow) -> RenderableType:
    """What the terminal shows."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, title in enumerate(titles(flow)):
        table.add_column(title, justify="right" if index else "left")
    for row in rows(flow):
        table.add_row(*map(printable, row))
    lines = [Text(sentence[0].upper() + sentence[1:], style="bold") for sentence in sentences(flow)]
    return Group(*lines, Text(), table, Text(), *(Text(note) for note in notes(flow)))


def geometric_means(norms: Sequence[Sequence[float]]) -> list[float]:
    """Per layer, over seeds."""
    return [float(value) for value in np.exp(np.log(np.maximum(norms, 1e-30)).mean(0))]


def page(flow: GradientFlow) -> str:
    """The page: sentences, one drawing per moment, the table."""
    drawings = [(title, _drawing(flow, moment, title)) for moment, title in moments(flow).items()]
    swatches = [_swatch(style) for style in _styles(flow)]
    return rendered(
        FOLDER / "gradient_flow.html.jinja",
        flow=flow,
        headline=headline(flow),
        sentences=[sentence[0].upper() + sentence[1:] for sentence in sentences(flow)],
        drawings=drawings,
        key=[KeyEntry(name, swatch) for name, swatch in zip(flow.networks, swatches, strict=True)],
        titles=titles(flow),
        rows=list(zip(swatches, rows(flow), strict=True)),
        notes=notes(flow),
    )


def _drawing(flow: GradientFlow, moment: str, title: str) -> Markup:
    """Norm per layer at one moment, on the axes that both moments share."""
    at_each = {name: [_line(name, network, at) for at in network.moments] for name, network in flow.networks.items()}
    heights = [y for lines in at_each.values() for line in lines for y in line.ys]
    most = max(len(line.xs) for lines in at_each.values() for line in lines)
    air = 0.05 * (max(heights) - min(heights)) or 0.5
    frame = Frame((1.0, float(max(most, 2))), (min(heights) - air, max(heights) + air))
    powers = [math.log10(value) for value in log_ticks(*frame.y_range)]
    across = [x for x in ticks(*frame.x_range) if x == int(x)]
    parts = [frame.axes(across, powers, "layer", lambda y: number(10**y))]
    for style, (name, network) in zip(_styles(flow), flow.networks.items(), strict=True):
        group = Markup('<g class="{}">{}</g>')
        parts.append(group.format(style.classes, _polyline(frame, _line(name, network, moment))))
    return svg(f"Gradient norm per layer, {title}, log scale", parts)


def _line(name: str, network: NetworkFlow, moment: str) -> Line:
    norms = geometric_means(network.moments[moment].norm)
    return Line(list(range(1, len(norms) + 1)), [math.log10(value) for value in norms], name)


def _polyline(frame: Frame, line: Line) -> Markup:
    points = (frame.place(x, y) for x, y in zip(line.xs, line.ys, strict=True))
    return Markup('<polyline class="line" points="{}"/>').format(" ".join(f"{x},{y}" for x, y in points))


def _styles(flow: GradientFlow) -> list[Style]:
    """Networks of one depth share a colour; plain and residual ones differ in their dashes."""
    return styles(
        [(name.strip("abcdefghijklmnopqrstuvwxyz-_") or name, name.rstrip("0123456789")) for name in flow.networks]
    )


def _swatch(style: Style) -> Markup:
    line = '<line class="line" x1="0" y1="5" x2="30" y2="5"/>'
    line = f'<svg class="curve swatch {{}}" viewBox="0 0 30 10" width="30" height="10" aria-hidden="true">{line}</svg>'
    return Markup(line).format(style.classes)


def draw(flow: GradientFlow, path: Path) -> None:
    """The figure as .png or .svg: norm per layer on a logarithmic axis, geometric mean and range over seeds."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (moment, title) in zip(panels, moments(flow).items(), strict=True):
            for index, (name, network) in enumerate(flow.networks.items()):
                _draw_line(axes, network.moments[moment].norm, name, index)
            axes.set(yscale="log", xlabel="layer, from the image to the head", title=title)
        panels[0].set_ylabel("gradient norm")
        panels[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panels[1].legend(frameon=False)
        write_atomically(path, lambda temporary: figure.savefig(temporary, format=path.suffix[1:]))


def _draw_line(axes: Any, norms: Sequence[Sequence[float]], name: str, index: int) -> None:
    layers = range(1, len(norms[0]) + 1)
    (line,) = axes.plot(layers, geometric_means(norms), linestyle=DASHES[index % len(DASHES)], label=name)
    axes.fill_between(layers, np.min(norms, axis=0), np.max(norms, axis=0), color=line.get_color(), alpha=0.15, lw=0)
