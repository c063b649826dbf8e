"""What the results of studies have in common: how they show themselves, and the JSON file that holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from transferkit.runs.result_folders import Kind
from transferkit.runtime.json_files import SCHEMAS
from transferkit.runtime.records import read_record, read_result_record, write_record


class StudyResult(ABC):
    """A result that is kept in a folder, beside its page; a frozen dataclass, made with `repr=False`.

    Attributes:
        KIND: Of the folder: names the JSON file and the page.
        folder: Where it and its page are.
    """

    KIND: ClassVar[Kind]
    folder: str

    @abstractmethod
    def _headline(self) -> str:
        """What it found, in a line or a few."""

    @abstractmethod
    def _notebook_page(self) -> str:
        """Its page as HTML."""

    def __repr__(self) -> str:
        """What it found, and where to read more."""
        return f"{self._headline()}\nReport: {self.folder}/{self.KIND.page}"

    def _repr_html_(self) -> str:
        """The page, for notebooks."""
        from transferkit.report.page import framed

        return framed(self._notebook_page())

    @classmethod
    def read(cls, folder: Path | str) -> Self:
        """The result that an earlier call or command left in a folder.

        Raises:
            TransferkitError: If there is none, it is damaged, or another version computed its numbers in another way.
        """
        read = read_result_record if cls.KIND.result in SCHEMAS else read_record
        return read(Path(folder) / cls.KIND.result, cls)

    def write(self, folder: Path | str) -> None:
        """Leave it in a folder as JSON."""
        write_record(Path(folder) / self.KIND.result, self)
