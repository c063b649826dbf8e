"""Recipes, overrides and options as nobody should write them, from a seed: mutated texts and values of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transferkit.recipe import book

OWN = (
    "data: cifar10\nbackbone: {name: resnet18}\nmethod: {name: finetune, lr: 1e-3, epochs: 3}\nseed: 1\n",
    "data: {name: folder, path: pets, storage: 64}\nbackbone: {name: simple-cnn, features: [8, 16], kernel: 5}\n"
    "method: {name: scratch, budget: 500steps, mixup: 0.2, freeze_after: {block1: 2}}\nprecision: bf16\n",
    "data: digits\nbackbone: timm/vit_tiny_patch16_224\nmethod: {name: probe, C: 10, layers: 'layer1,layer3'}\n",
    "data: svhn\nbackbones: [resnet18, resnet18=none, {name: vgg11, weights: my.pth}]\nimages: 500\nsize: 64\n",
    "name: duel\ncommon: {data: glyphs, method: {name: finetune}}\nseeds: 2\nbudget: 3epochs\nreference: a\n"
    "arms:\n  a: {backbone: {name: resnet18}}\n  b: {backbone: {name: resnet34}, seed: 4}\nlabels: [5, 10, all]\n",
)
VALUES = (
    *("", "~", "null", "true", "no", "-1", "0", "1", "-0", "1e-3", ".5", "1.", "0x1f", "007", "1_000", "+1"),
    *(".inf", "-.inf", ".nan", "1e999", "1e-999", "9" * 40, "9" * 5000, "0x" + "f" * 5000, "1e999flops", "0epochs"),
    *("190:20:30", "2024-31-12", "2024-12-31T25:61:00Z", "12:30", "!!int x", "!!int 5", "!!float x", "!!bool maybe"),
    *(
        "!!null x",
        "!!str 5",
        "!!set {a}",
        "!!omap [a: 1]",
        "!!binary aGk=",
        "!!timestamp 1",
        "!!python/name:os.system x",
    ),
    *("!x 5", "!!map 5", "!!seq x", "! 5", "*a", "&a x", "&a [*a, *a]", "<<", "=", "%", "@", "`", "|", ">", "- - -"),
    *("[" * 50, "[" * 3000, "{a: " * 50, "{a: " * 3000, "- " * 3000, "[[1], [2, [3]]]", "[]", "{}", "[a, b]", "{a: b}"),
    *("x" * 300, "x" * 5000, "é" * 300, "x" * 150_000, "'a\x07b'", '"a\\0b"', '"\\ud800"', "\x00", "\ud800", "\u2028"),
    *("resnet18", "finetune", "probe", "scratch", "cifar10", "folder:", "folder:..", "/etc/passwd", "../../x", "run:a"),
    *(
        "converged",
        "10min",
        "1.5epochs",
        "1e3steps",
        "1e30h",
        "NaNs",
        "auto",
        "all",
        "none",
        "{name: probe}",
        "{name: 5}",
    ),
    *(
        "{name: [a]}",
        "{name: {a: b}}",
        "? [a]\n: b",
        "{[a]: b}",
        "{1: 2}",
        "{null: x}",
        "{true: 1, True: 2}",
        "{a: 1, a: 2}",
    ),
)
KEYS = (
    *("data", "data.name", "data.path", "data.split_seed", "data.val_fraction", "data.storage", "data.limit_per_class"),
    *("backbone", "backbone.name", "backbone.weights", "backbone.features", "backbone.dense", "backbone.blocks"),
    *("method", "method.name", "method.lr", "method.size", "method.epochs", "method.budget", "method.batch_size"),
    *("method.freeze_after", "method.layers", "method.C", "method.head_lr", "method.freeze_after.a", "seed", "device"),
    *("name", "arms", "arms.a", "arms.b.backbone", "arms.c", "before", "before.a", "before.../../x", "common", "seeds"),
    *("labels", "over", "reference", "budget", "backbones", "backbones.0", "images", "size", "x", "", ".", "a" * 500),
    *("method..lr", "a." * 200, "data.name.name", "threads", "precision", "\x00", "\ud800"),
)
SIGNS = "{}[]:,-?&*!|>%@`'\"#=~ \n\t\x00\x1b\ud800\ufeff\u202e\x85é9a._\\/"


@dataclass(frozen=True)
class Hostile:
    """What may come on the command line: the text of a file and overrides."""

    text: str
    overrides: tuple[str, ...]


def recipes(seed: int, count: int) -> Iterator[Hostile]:
    """So many mutants of the shipped recipes and of OWN; the same for the same seed."""
    draw = random.Random(seed)
    texts = [*OWN, *(book.find(name).read_text(encoding="utf-8") for name in book.names())]
    for _ in range(count):
        text = draw.choice(texts)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 8))):
            text = draw.choice((_other_signs, _other_value, _other_value, _other_lines))(text, draw)
        overrides = [f"{draw.choice(KEYS)}={draw.choice(VALUES)}" for _ in range(draw.choice((0, 0, 1, 1, 2)))]
        yield Hostile(text, tuple(overrides))


def _other_signs(text: str, draw: random.Random) -> str:
    """One to four signs put in, taken out or replaced."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(text))
        text = text[:at] + draw.choice(("", draw.choice(SIGNS))) + text[at + draw.choice((0, 1, 1, 5)) :]
    return text


def _other_value(text: str, draw: random.Random) -> str:
    """What stands after a colon replaced."""
    colons = [index for index, sign in enumerate(text) if sign == ":"]
    if not colons:
        return draw.choice(VALUES)
    at = draw.choice(colons) + 1
    ends = [text.find(sign, at) for sign in ",}\n" if text.find(sign, at) >= 0]
    return f"{text[:at]} {draw.choice(VALUES)}{text[min(ends, default=len(text)) :]}"


def _other_lines(text: str, draw: random.Random) -> str:
    """A line doubled, dropped, moved or set in."""
    lines = text.split("\n")
    at, to = draw.randrange(len(lines)), draw.randrange(len(lines))
    line = lines[at]
    match draw.randrange(4):
        case 0:
            lines.insert(to, line)
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[to] = lines[to], line
        case _:
            lines[at] = draw.choice(("  ", "\t", "- ", "a: ")) + line
    return "\n".join(lines)
