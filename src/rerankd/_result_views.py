"""A ranking as a sequence, as plain data, as a data frame and as a table for notebooks: the base of `RerankResult`."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerankd.types import RankedDocument, Usage

MAX_CELL = 400  # characters of a text in a notebook
_STYLE = "text-align: left; vertical-align: top"


class ResultViews:
    """A ranking in the forms that programs and notebooks want."""

    __slots__ = ()

    if TYPE_CHECKING:
        results: tuple[RankedDocument, ...]
        model: str
        usage: Usage
        timings: Mapping[str, float]
        warnings: tuple[str, ...]

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, position: int) -> RankedDocument:
        return self.results[position]

    def to_dict(self) -> dict[str, Any]:
        """Return the ranking as dicts and lists, under the names of its attributes.

        Example:
            >>> reranker.rank("q", ["a"]).to_dict()["results"][0]["document"]  # doctest: +SKIP
            {'text': 'a', 'id': None, 'metadata': {}}
        """
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]  # of the dataclass that inherits it
        return {name: getattr(self, name) for name in names} | {
            "results": [_row(ranked) for ranked in self],
            "usage": self.usage.to_dict(),
            "timings": dict(self.timings),
            "warnings": list(self.warnings),
        }

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`, one row for each result, best first; metadata gives further columns.

        Raises:
            ImportError: pandas is not installed.

        Example:
            >>> reranker.rank("q", ["a"]).to_pandas()["text"].tolist()  # doctest: +SKIP
            ['a']
        """
        try:
            import pandas
        except ImportError as error:
            sentence = "to_pandas needs the package 'pandas', which is not installed. Run: pip install pandas"
            raise ImportError(sentence) from error
        return pandas.DataFrame([_flat_row(ranked) for ranked in self], columns=None if len(self) else _COLUMNS)

    def _repr_html_(self) -> str:
        with_ids = any(ranked.document.id is not None for ranked in self)
        names = ["rank", "before", "score", *(["id"] if with_ids else []), "document"]
        head = "".join(f"<th style='{_STYLE}'>{name}</th>" for name in names)
        body = "".join(f"<tr>{_cells(ranked, with_ids)}</tr>" for ranked in self)
        caption = html.escape(f"{len(self)} of {self.usage.pairs} documents, {self.model}")
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(ranked: RankedDocument, with_ids: bool) -> str:
    text = ranked.document.text
    shown = text if len(text) <= MAX_CELL else text[:MAX_CELL] + "…"
    identity = "" if ranked.document.id is None else str(ranked.document.id)
    values = [str(ranked.rank_after), str(ranked.rank_before), f"{ranked.relevance_score:.4f}"]
    values += [*([identity] if with_ids else []), shown]
    return "".join(f"<td style='{_STYLE}'>{html.escape(value)}</td>" for value in values)


_FIELDS = ("index", "relevance_score", "raw_score", "rank_before", "rank_after", "truncated", "chunks")
_COLUMNS = ["rank_after", "id", "text", *(name for name in _FIELDS if name != "rank_after"), "rules"]


def _row(ranked: RankedDocument) -> dict[str, Any]:
    document = ranked.document
    row = {name: getattr(ranked, name) for name in _FIELDS} | {
        "document": {"text": document.text, "id": document.id, "metadata": dict(document.metadata or {})},
        "rules": [asdict(rule) for rule in ranked.rules],
    }
    return row if ranked.spans is None else row | {"spans": [asdict(span) for span in ranked.spans]}


def _flat_row(ranked: RankedDocument) -> dict[str, Any]:
    """Return a row without nesting; metadata under a name that is taken gets the name `metadata.NAME`."""
    row = _row(ranked)
    document = row.pop("document")
    row |= {"id": document["id"], "text": document["text"]}
    metadata = {f"metadata.{name}" if name in row else str(name): value for name, value in document["metadata"].items()}
    return {name: row[name] for name in (*_COLUMNS, "spans") if name in row} | metadata
