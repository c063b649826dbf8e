"""Predictions as a small table: it prints itself, and becomes a frame of pandas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from markupsafe import Markup

from transferkit.data.reading import Reading
from transferkit.deploy.prediction import Prediction, pictures_of
from transferkit.runtime.errors import TransferkitError

COLUMNS = ("path", "class", "probability", "unknown", "unusual_percent")
SHOWN = 20  # rows of a table on a screen


@dataclass(frozen=True, repr=False)
class PredictionTable(Sequence[Prediction]):
    """One prediction per image, in order.

    Attributes:
        images: The path of each image, or its number.
        predictions: As many.
    """

    images: tuple[str, ...]
    predictions: tuple[Prediction, ...]

    def __len__(self) -> int:
        return len(self.predictions)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> PredictionTable: ...
    def __getitem__(self, index: int | slice) -> Prediction | PredictionTable:
        if isinstance(index, slice):
            return PredictionTable(self.images[index], self.predictions[index])
        return self.predictions[index]

    def to_pandas(self) -> Any:
        """A DataFrame: path, class, probability, unknown, unusual_percent, then a column for each class's probability.

        Raises:
            TransferkitError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise TransferkitError("to_pandas needs pandas: pip install pandas") from error
        classes = (prediction.probabilities for prediction in self.predictions)
        rows = [
            dict(zip(COLUMNS, row, strict=True)) | shares for row, shares in zip(self._rows(), classes, strict=True)
        ]
        return pandas.DataFrame(rows)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for image, known in zip(self.images, self.predictions, strict=True):
            yield image, known.name, known.probability, known.unknown, known.percentile

    def _cells(self) -> Iterator[tuple[str, str, str]]:
        """The image, the answer and its probability, of the first rows."""
        for image, name, probability, unknown, _ in list(self._rows())[:SHOWN]:
            yield image, f"unknown (would be {name})" if unknown else name, f"{100 * probability:.1f} %"

    @property
    def _rest(self) -> str:
        return f"and {len(self) - SHOWN:,} more" if len(self) > SHOWN else ""

    def __repr__(self) -> str:
        """Image, answer and probability, aligned; of many images the first ones."""
        cells = list(self._cells())
        wide = [max((len(row[column]) for row in cells), default=0) for column in (0, 1)]
        lines = [f"{image:<{wide[0]}}  {answer:<{wide[1]}}  {share:>7}" for image, answer, share in cells]
        return "\n".join([*lines, self._rest]).rstrip() or "No images."

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        row = Markup("<tr><td>{}</td><td>{}</td><td style='text-align: right'>{}</td></tr>")
        head = Markup("<tr><th>image</th><th>answer</th><th>probability</th></tr>")
        body = Markup("").join(row.format(*cells) for cells in self._cells())
        return Markup("<table>{}{}</table>{}").format(head, body, self._rest)


def picture_names(images: Any) -> Sequence[str]:
    """The path of each image, or its number among those given.

    Raises:
        TransferkitError: If these are no images.
    """
    return pictures_of(images, 8, Reading()).ids
