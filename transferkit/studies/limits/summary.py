"""The first page: at most ten sentences in plain words, each with its evidence, and the list of what was not tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transferkit.report.number_words import rounded_percent
from transferkit.runtime.plurals import counted
from transferkit.studies.limits.corruption_severity import CorruptionReport
from transferkit.studies.limits.error_slices import in_words
from transferkit.studies.limits.leave_out import HeldOutReport
from transferkit.studies.limits.nonsense import NonsenseRow
from transferkit.studies.limits.out_of_distribution import UnknownSet
from transferkit.studies.limits.report import Light, LimitsReport, RuleState, State, Summary, SummaryLine
from transferkit.studies.limits.settings import Rules
from transferkit.studies.limits.shares import NotMeasured, Share

MOST_LINES = 10
NO_LIMIT = "No limit found in the tests below."

Sentences = list[tuple[str, str]]  # sentences, each with its evidence


@dataclass(frozen=True)
class Rule:
    """A rule of the summary: what it looks at, when it fires, and how serious that is.

    Attributes:
        id: S1 ... S12; the order of severity is that of `RULES`.
        about: What is looked at.
        threshold: The field of `Rules` that it uses.
        light: red, or amber for what can be fixed or asks for more evidence.
        find: The lines it prints for a report; None if the report lacks the test.
    """

    id: str
    about: str
    threshold: str
    light: Light
    find: Callable[[LimitsReport, Rules], Sentences | None]


def summary(report: LimitsReport, rules: Rules) -> Summary:
    """Lines that fired, the state of every rule, what was not tested and where there are too few images."""
    states, lines = [], []
    for rule in RULES:
        matches = rule.find(report, rules)
        value = getattr(rules, rule.threshold)
        states.append(RuleState(rule.id, rule.about, rule.threshold, value, state_of(matches)))
        lines += [SummaryLine(rule.id, rule.light, text, evidence) for text, evidence in matches or []]
    serious = [line for line in lines if line.id not in ("S10", "S11")]
    if not serious:
        lines.insert(0, SummaryLine("OK", "none", NO_LIMIT, tested(report)))
    return Summary(tuple(shortest(lines)), tuple(states), tuple(not_tested(report)))


def state_of(matches: Sentences | None) -> State:
    """What came of a rule: None stands for a test that was not made."""
    if matches is None:
        return "not tested"
    return "fired" if matches else "not fired"


def shortest(lines: Sequence[SummaryLine]) -> list[SummaryLine]:
    """At most ten lines: the first of every rule, then the others while there is room, in the order of severity."""
    firsts = {line.id: line for line in reversed(lines)}
    shown = [line for line in lines if firsts[line.id] is line][:MOST_LINES]
    others = [line for line in lines if firsts[line.id] is not line][: MOST_LINES - len(shown)]
    return [line for line in lines if any(line is chosen for chosen in (*shown, *others))]


# ---- words ----


def evidence_of(share: Share) -> str:
    """n and interval of a share."""
    low, high = (100 * bound for bound in share.interval)
    return f"{share.hits:,} of {share.n:,}, 95 % interval {low:.1f} to {high:.1f} %"


def named(names: Sequence[str], limit: int = 3) -> str:
    """A few names, and how many more."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(name.replace("_", " ") for name in names[:limit]) + more


# ---- the rules ----


def answers_nonsense(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S1: meaningless images are accepted."""
    meaningless = [row for row in report.nonsense if row.is_meaningless]
    if not meaningless or report.contract.threshold is None:
        return None
    bad = sorted((row for row in meaningless if row.accepted.value > rules.nonsense_accepted), key=_accepted)
    if not bad:
        return []
    worst = bad[-1]
    kinds = named([row.name for row in reversed(bad)])
    text = f"It accepts meaningless images: {rounded_percent(_accepted(worst))} of {kinds.partition(',')[0]}."
    limit = rounded_percent(rules.nonsense_accepted)
    return [(text, f"{evidence_of(worst.accepted)}; {len(bad)} of {len(meaningless)} kinds above {limit}: {kinds}")]


def _accepted(row: NonsenseRow) -> float:
    return row.accepted.value


def misses_unknown_classes(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S2: near unknown classes, or held-out classes of its own, cannot be told apart."""
    score = report.unknown.summary_score
    near = [row for row in report.unknown.sets if row.near]
    lows = [(row.scores[score], f"{row.name} (n = {row.n:,})") for row in near if score in row.scores]
    aurocs = [(row.auroc_interval, row.auroc, name) for row, name in lows]
    if isinstance(report.leave_out, HeldOutReport):
        mean = report.leave_out.mean[report.leave_out.score]
        aurocs.append((mean.interval, mean.auroc, f"held-out classes ({mean.n})"))
    known = [(interval, auroc, name) for interval, auroc, name in aurocs if interval]
    if not known:
        return None
    (low, high), auroc, name = min(known, key=lambda row: row[0][0])
    if low >= rules.auroc:
        return []
    evidence = f"AUROC {auroc:.3f}, 95 % interval {low:.3f} to {high:.3f}, on {name}"
    return [("It cannot tell unknown classes from known ones reliably.", evidence)]


def accepts_unknown(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S3: more than half of an unknown set may be accepted."""
    sets = [(row.accepted, row) for row in report.unknown.sets if row.accepted]
    if not sets:
        return None
    most_first = sorted(sets, key=lambda pair: pair[0].value, reverse=True)
    return [
        (_accepted_in_words(row, accepted, rules.unknown_accepted), evidence_of(accepted))
        for accepted, row in most_first
        if accepted.interval[1] > rules.unknown_accepted
    ]


def _accepted_in_words(row: UnknownSet, accepted: Share, limit: float) -> str:
    called = max(row.calls.called, key=lambda name: row.calls.called[name])
    start = "More than" if accepted.value > limit else "Perhaps more than"
    share = f"{start} {rounded_percent(limit)} of {row.name}"
    return f"{share}, which it does not know, is accepted, most often as “{called}”."


def breaks_under_corruption(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S4: a family of corruptions costs more than ten points at a mild severity."""
    corruptions = report.corruptions
    if isinstance(corruptions, NotMeasured):
        return None
    clean = corruptions.clean.value
    lines = []
    for family, by_severity in corruptions.families.items():
        broken = [severity for severity, accuracy in by_severity.items() if accuracy < clean - corruptions.drop]
        if broken and min(broken) <= rules.breaking_severity:
            accuracy = by_severity[min(broken)]
            loss = f"accuracy {rounded_percent(clean)} to {rounded_percent(accuracy)}"
            evidence = f"{loss} at severity {min(broken)} of 5, n = {corruptions.n:,}"
            lines.append((f"Do not use it on {IN_WORDS.get(family, family)} images.", evidence))
    return lines


IN_WORDS = {"noise": "noisy", "blur": "blurred", "weather": "weather-affected", "digital": "low-contrast or compressed"}


def loses_elsewhere(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S5: accuracy falls on other images of the same classes."""
    if not report.shift:
        return None
    return [
        (
            f"On {row.name} expect {rounded_percent(row.accuracy.value)} instead of {rounded_percent(row.own.value)}.",
            f"gap 95 % interval {100 * row.gap.interval[0]:.1f} to {100 * row.gap.interval[1]:.1f} "
            f"points, n = {row.n:,}",
        )
        for row in report.shift
        if row.gap.interval[0] > rules.shift_gap
    ]


def is_overconfident(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S6: confidence is too high, beyond what chance gives."""
    row = report.calibration.rows["raw"]
    if row.ece <= row.ece_if_calibrated[1] or row.overconfidence <= rules.overconfidence:
        return []
    temperature = report.calibration.temperature
    advice = f"; `predict` divides the logits by {temperature:.2f}" if temperature else ""
    band = f"a calibrated one stays below {rounded_percent(row.ece_if_calibrated[1])}"
    evidence = f"ECE {rounded_percent(row.ece)}, {band}, n = {row.n:,}"
    return [(f"Its confidence is too high by {100 * row.overconfidence:.1f} points{advice}.", evidence)]


def fails_silently(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S7: under a shift, images are wrong and accepted all the same."""
    cells = [(row.silent, row.name) for row in report.shift]
    if isinstance(report.corruptions, CorruptionReport):
        corrupted = report.corruptions.cells
        names = (f"{cell.corruption.replace('_', ' ')} at severity {cell.severity}" for cell in corrupted)
        cells = [*zip((cell.silent for cell in corrupted), names, strict=True), *cells]
    if not cells or report.contract.threshold is None:
        return None
    bad = [(share, name) for share, name in cells if share.value > rules.silent_failures]
    if not bad:
        return []
    share, name = max(bad, key=lambda pair: pair[0].value)
    text = f"Under {name}, {rounded_percent(share.value)} of the images are wrong and accepted all the same."
    return [
        (
            text,
            f"{evidence_of(share)}; {len(bad)} of {counted(len(cells), 'shift')} above "
            f"{rounded_percent(rules.silent_failures)}",
        )
    ]


def is_weak_on_a_class(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S8: one class is much worse than the mean."""
    test, worst = report.test, report.test.worst
    if worst is None or worst.recall is None or worst.recall_interval is None:
        return None
    far = test.macro_recall - worst.recall > rules.weak_class
    if not far or worst.recall_interval[1] >= test.interval[0]:
        return []
    low, high = (100 * bound for bound in worst.recall_interval)
    evidence = f"recall {rounded_percent(worst.recall)}, 95 % interval {low:.0f} to {high:.0f} %, n = {worst.n:,}"
    evidence += f"; mean {rounded_percent(test.macro_recall)}"
    return [(f"It is weak on “{worst.name}”.", evidence)]


def fails_on_a_group(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S12: a group of alike test images is shown to be answered worse than all others."""
    if isinstance(report.slices, NotMeasured):
        return None
    rows = [row for row in report.slices.rows if row.gap > rules.slice_gap]
    if not rows:
        return []
    worst = rows[0]
    text = f"On a group of images that look alike to it, {rounded_percent(worst.accuracy.value)} are right"
    evidence = (
        f"{evidence_of(worst.accuracy)}; mostly {in_words(worst)}; mean confidence {rounded_percent(worst.confidence)}"
    )
    points = f"{100 * rules.slice_gap:g} points"
    worse = f"{len(rows)} of {report.slices.tested} groups are shown to be worse by more than {points}"
    return [(f"{text}, elsewhere {rounded_percent(worst.rest.value)}.", f"{evidence}; {worse} (Holm)")]


def cannot_promise(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S9: the target risk cannot be promised for half of the images."""
    promise = report.selective.promise
    if promise.coverage is not None and promise.coverage >= rules.coverage:
        return []
    most = f"at most {rounded_percent(promise.target)} errors"
    text = f"It cannot promise {most} for {rounded_percent(rules.coverage)} of the images by abstaining."
    evidence = f"n = {promise.n_val:,} {report.threshold_images}"
    if promise.coverage is not None:
        evidence = f"largest coverage with that promise: {rounded_percent(promise.coverage)}; {evidence}"
    elif promise.needs is not None and promise.n_val < promise.needs:
        evidence += f"; even without an error that takes {promise.needs:,}"
    else:
        evidence = f"too many of its most confident answers are wrong; {evidence}"
    return [(text, evidence)]


def separates_by_statistics(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S10: brightness or sharpness alone tells an unknown set apart nearly as well."""
    score = report.unknown.summary_score
    aurocs = [(row.scores[score].auroc if score in row.scores else None, row) for row in report.unknown.sets]
    sets = [(auroc, row) for auroc, row in aurocs if auroc is not None]
    if not sets:
        return None
    return [
        (
            f"The result on {row.name} is about image statistics, not content.",
            f"{row.low_level.statistic} alone: AUROC {row.low_level.auroc:.3f}; {score}: {auroc:.3f}; n = {row.n:,}",
        )
        for auroc, row in sets
        if auroc - row.low_level.auroc < rules.low_level
    ]


def is_thin(report: LimitsReport, rules: Rules) -> Sentences | None:
    """S11: too few images."""
    scarce = too_few(report, rules)
    return [("There are too few images to say much.", "; ".join(scarce[:5]))] if scarce else []


def too_few(report: LimitsReport, rules: Rules) -> list[str]:
    """Classes and sets with too few images."""
    test = report.test.per_class
    classes = [f"{row.name} (n = {row.n})" for row in test if row.n < rules.few_per_class]
    sets = [f"{row.name} (n = {row.n})" for row in report.unknown.sets if row.n < rules.few_unknown]
    contract = report.contract
    few = [f"thresholds (n = {contract.threshold_images})"] if contract.n_thresholds < rules.few_unknown else []
    return [*classes, *sets, *few]


RULES = (
    Rule("S1", "meaningless images accepted", "nonsense_accepted", "red", answers_nonsense),
    Rule("S2", "AUROC of near unknown classes", "auroc", "red", misses_unknown_classes),
    Rule("S3", "unknown images accepted", "unknown_accepted", "red", accepts_unknown),
    Rule("S4", "breaking point under corruption", "breaking_severity", "red", breaks_under_corruption),
    Rule("S5", "loss on newly collected images", "shift_gap", "red", loses_elsewhere),
    Rule("S6", "overconfidence", "overconfidence", "amber", is_overconfident),
    Rule("S7", "silent failures under a shift", "silent_failures", "red", fails_silently),
    Rule("S8", "weakest class", "weak_class", "amber", is_weak_on_a_class),
    Rule("S12", "groups of alike images", "slice_gap", "amber", fails_on_a_group),
    Rule("S9", "promise by abstaining", "coverage", "amber", cannot_promise),
    Rule("S10", "image statistics suffice", "low_level", "amber", separates_by_statistics),
    Rule("S11", "too few images", "few_per_class", "amber", is_thin),
)


# ---- what was not looked at ----


def tested(report: LimitsReport) -> str:
    """What the sentence that no limit was found rests on."""
    parts = [f"n = {counted(report.test.n, 'test image')}"]
    parts += [f"{len(report.unknown.sets)} unknown sets"] if report.unknown.sets else []
    if isinstance(report.corruptions, CorruptionReport):
        parts.append(f"{len(report.corruptions.cells)} corrupted versions")
    return ", ".join(parts) + "; see what was not tested"


def not_tested(report: LimitsReport) -> list[str]:
    """What a reader may think was tested and was not."""
    return list(_not_tested(report))


def _not_tested(report: LimitsReport) -> Iterator[str]:
    if not report.unknown.sets:
        yield "images of unknown classes from outside (--ood NAME or FOLDER)"
    if not report.shift:
        yield "newly collected images of the same classes (--shift FOLDER)"
    if isinstance(report.corruptions, NotMeasured):
        yield f"noise, blur, weather and compression: {report.corruptions.reason}"
    elif report.corruptions.is_fast:
        yield "ten of the fifteen corruptions, and severities 2 and 4 (--corruptions full)"
    if isinstance(report.leave_out, NotMeasured):
        yield f"held-out classes of its own: {report.leave_out.reason}"
    elif not report.leave_out.clean:
        yield "held-out classes that the body has never seen (--leave-out full)"
    if not report.nuisance:
        yield "moved, scaled, turned, cropped and covered images (--sweeps)"
    if not report.field:
        yield "images from where it will be used (--field FOLDER)"
    if isinstance(report.slices, NotMeasured):
        yield f"groups of alike images on which it is worse: {report.slices.reason}"
    yield "images made to deceive it (adversarial examples)"
    yield "all other unknown classes: the sets used here are a sample, and detection on them is no guarantee"
