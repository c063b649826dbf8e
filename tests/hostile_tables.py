"""CSV files of path,label[,split] as nobody should write them, from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

HEADERS = (
    "path,label",
    "path,label,split",
    "label,path",
    "path",
    "",
    "path,path,label",
    "\ufeffpath,label",
    "PATH,label",
    '"path",label',
)
CELLS = (
    *(
        "a.png",
        "b.png",
        "c.png",
        "missing.png",
        "../a.png",
        "/etc/passwd",
        "",
        " ",
        ".",
        "..",
        "a.png/",
        "folder",
        "fifo.jpg",
    ),
    *(
        "cat",
        "dog",
        "train",
        "test",
        "val",
        "Validation",
        "x" * 2000,
        "x" * 140_000,
        "a\0b",
        "\0",
        "a\nb",
        "\x1b[2J",
        "é",
        "\u202e",
    ),
    *('"', '"a', 'a"b', "'", ";", "\t", "=1+1", "nan", "1e999", "\ufeff", "\x85", "💥", "a" * 300 + ".png"),
)


def tables(seed: int, count: int) -> Iterator[bytes]:
    """So many tables; some are no UTF-8, some no CSV."""
    draw = random.Random(seed)
    for _ in range(count):
        header = draw.choice((*HEADERS[:2] * 4, *HEADERS))
        lines = [header]
        for number in range(draw.choice((0, 1, 4, 8, 30))):
            good = f"{draw.choice('abc')}.png,{draw.choice(('cat', 'dog'))}" + ",train" * (header.count(",") > 1)
            strange = ",".join(draw.choice(CELLS) for _ in range(draw.choice((1, 2, 2, 3, 5))))
            lines.append(draw.choice((good, good, f"{number}.png,cat", strange)))
        text = draw.choice(("\n", "\r\n", "\r", "\n\n")).join(lines)
        data = text.encode(draw.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig")), "surrogatepass")
        if draw.random() < 0.2:
            at = draw.randrange(len(data) + 1)
            data = data[:at] + bytes([draw.randrange(256)]) + data[at:]
        yield data
