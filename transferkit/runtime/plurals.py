"""Numbers and articles with their nouns."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun, which is one or several.

    Example:
        >>> counted(1, "epoch"), counted(1200, "file"), counted(2, "class", "classes")
        ('1 epoch', '1,200 files', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def with_article(noun: str) -> str:
    """A noun behind its indefinite article.

    Example:
        >>> with_article("exported model"), with_article("run")
        ('an exported model', 'a run')
    """
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"
