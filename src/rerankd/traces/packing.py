"""Candidates of a trace as bytes: fifty candidates take about 700 bytes, a tenth of what rows would take.

Layout, little-endian: version, flags and count; then one array after the other, each with one element per candidate;
then JSON with what is rare. Arrays with default values only are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from rerankd._common.validation import plain_metadata
from rerankd.errors import RerankdError
from rerankd.types import Adjustment

VERSION = 1
MAX_METADATA = 32_768
_HEAD = struct.Struct("<BBI")
_WIDE, _BEFORE, _TRUNCATED, _CHUNKS, _REST = 1, 2, 4, 8, 16
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of a ranking, in the order of the request; each array has the shape (candidates,).

    Attributes:
        passages: numbers of the texts in the store, int64.
        raw_scores: logits, float32.
        final_scores: scores after rules and activation, float32.
        ranks: ranks after reranking, from 1.
        scores_before: scores of the first stage, NaN for a missing one; empty if all are missing.
        truncated: True for documents that the model did not read to the end; empty if there is none.
        chunks: number of chunks that each document was read in; empty if it was one for all.
        ids: ids that the request gave to the documents; empty if it gave none.
        rules: labels of the rules that matched, by position; empty if none did.
        metadata: metadata of each document; empty if none has any.
        adjustments: what the rules did to a document, by position and without their names; empty if they did nothing.

    Example:
        >>> two = Candidates(np.array([7, 9]), np.float32([1, 2]), np.float32([0.7, 0.9]), np.array([2, 1]))
        >>> unpack(pack(two)).passages.tolist()
        [7, 9]
    """

    passages: npt.NDArray[np.int64]
    raw_scores: npt.NDArray[np.float32]
    final_scores: npt.NDArray[np.float32]
    ranks: npt.NDArray[np.int64]
    scores_before: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    truncated: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    chunks: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    ids: Sequence[str | None] = ()
    rules: Mapping[int, Sequence[str]] = field(default_factory=dict)
    metadata: Sequence[Mapping[str, Any]] = ()
    adjustments: Mapping[int, Adjustment] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """False for documents that a rule filtered out, shape (candidates,): nobody was shown them."""
        return ~self._mask(position for position, each in self.adjustments.items() if each.filtered)

    @property
    def unpinned(self) -> npt.NDArray[np.bool_]:
        """True for shown documents whose rank is not a pin of a rule, shape (candidates,)."""
        return self.shown & ~self._mask(position for position, each in self.adjustments.items() if each.pin_to)

    @property
    def ranks_without_pins(self) -> npt.NDArray[np.int64]:
        """Ranks among the unpinned documents, from 1; 0 for pinned documents and for those that were not shown."""
        positions = np.flatnonzero(self.unpinned)
        ranks = np.zeros(len(self), np.int64)
        ranks[positions[np.argsort(self.ranks[positions])]] = np.arange(1, len(positions) + 1)
        return ranks

    def part(self, positions: Sequence[int]) -> Candidates:
        """Return the candidates at some positions, in this order; their ranks stay.

        Example:
            >>> three = Candidates(np.arange(3), np.zeros(3, "f4"), np.zeros(3, "f4"), np.array([2, 1, 3]), ids="abc")
            >>> three.part([0, 2]).ids, three.part([0, 2]).ranks.tolist()
            (['a', 'c'], [2, 3])
        """
        return Candidates(
            passages=self.passages[positions],
            raw_scores=self.raw_scores[positions],
            final_scores=self.final_scores[positions],
            ranks=self.ranks[positions],
            scores_before=self.scores_before[positions] if len(self.scores_before) else self.scores_before,
            truncated=self.truncated[positions] if len(self.truncated) else self.truncated,
            chunks=self.chunks[positions] if len(self.chunks) else self.chunks,
            ids=[self.ids[position] for position in positions] if self.ids else (),
            rules={new: self.rules[old] for new, old in enumerate(positions) if old in self.rules},
            metadata=[self.metadata[position] for position in positions] if self.metadata else (),
            adjustments={new: self.adjustments[old] for new, old in enumerate(positions) if old in self.adjustments},
        )

    def _mask(self, positions: Iterable[int]) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(self), np.bool_)
        mask[list(positions)] = True
        return mask


def pack(candidates: Candidates) -> bytes:
    """Return candidates as bytes."""
    count = len(candidates)
    wide = bool(count and candidates.passages.max() > 0xFFFF_FFFF)
    narrow = "<u2" if count <= 0xFFFF else "<u4"
    flags = _WIDE if wide else 0
    parts: list[bytes] = [
        candidates.passages.astype("<u8" if wide else "<u4").tobytes(),
        candidates.raw_scores.astype("<f4").tobytes(),
        candidates.final_scores.astype("<f4").tobytes(),
        candidates.ranks.astype(narrow).tobytes(),
    ]
    if len(candidates.scores_before):
        flags |= _BEFORE
        parts.append(candidates.scores_before.astype("<f8").tobytes())
    if candidates.truncated.any():
        flags |= _TRUNCATED
        parts.append(np.packbits(candidates.truncated).tobytes())
    if (candidates.chunks != 1).any():
        flags |= _CHUNKS
        parts.append(candidates.chunks.astype("<u4").tobytes())
    rest: dict[str, object] = {}
    if any(name is not None for name in candidates.ids):
        rest["ids"] = candidates.ids
    if candidates.rules:
        rest["rules"] = {str(position): list(names) for position, names in candidates.rules.items()}
    if candidates.adjustments:
        rest["adjustments"] = {
            str(position): [each.boost, each.pin_to, each.filtered] for position, each in candidates.adjustments.items()
        }
    if any(candidates.metadata):
        rest |= _pack_metadata(candidates.metadata)
    if rest:
        flags |= _REST
        parts.append(orjson.dumps(rest))
    return b"".join([_HEAD.pack(VERSION, flags, count), *parts])


def unpack(data: bytes) -> Candidates:
    """Return the candidates that `pack` was given.

    Raises:
        RerankdError: the bytes have an unknown layout, or are incomplete.
    """
    try:
        return _unpacked(data)
    except (struct.error, ValueError) as error:
        raise RerankdError(f"The candidates of a trace are corrupt ({error}).", hint="Check the database.") from error


def _unpacked(data: bytes) -> Candidates:
    version, flags, count = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"unknown layout version {version}")
    offset = _HEAD.size

    def read(kind: str, items: int = count) -> Array:
        nonlocal offset
        array: Array = np.frombuffer(data, np.dtype(kind), items, offset)
        offset += array.nbytes
        return array

    passages = read("<u8" if flags & _WIDE else "<u4").astype(np.int64)
    raw, final = read("<f4").astype(np.float32), read("<f4").astype(np.float32)
    ranks = read("<u2" if count <= 0xFFFF else "<u4").astype(np.int64)
    before = read("<f8").astype(np.float64) if flags & _BEFORE else np.empty(0)
    bits = read("u1", -(-count // 8)).astype(np.uint8) if flags & _TRUNCATED else np.empty(0, np.uint8)
    chunks = read("<u4").astype(np.int64) if flags & _CHUNKS else np.empty(0, np.int64)
    rest = orjson.loads(data[offset:]) if flags & _REST else {}
    rules = {int(position): tuple(names) for position, names in rest.get("rules", {}).items()}
    truncated = np.unpackbits(bits, count=count).astype(np.bool_) if len(bits) else np.empty(0, np.bool_)
    distinct = rest.get("metadata", ())
    metadata = tuple(distinct[number] for number in rest.get("about", ()))
    ids = tuple(rest.get("ids", ()))
    adjustments = {int(position): Adjustment(*values) for position, values in rest.get("adjustments", {}).items()}
    if "adjustments" not in rest:
        adjustments = {position: _labelled(names) for position, names in rules.items()}
    return Candidates(passages, raw, final, ranks, before, truncated, chunks, ids, rules, metadata, adjustments)


def _labelled(labels: Iterable[str]) -> Adjustment:
    """Return the adjustment that the labels of rules tell, for traces of versions that stored nothing else."""
    boost, pins, filtered = 0.0, list[int](), False
    for label in labels:
        action, _, weight = label.rpartition(": ")[2].partition(" ")
        filtered = filtered or action == "filter"
        if action == "pin" and weight:
            pins.append(int(float(weight)))
        elif action in ("boost", "bury") and weight:
            boost += float(weight)
    return Adjustment(boost, min(pins, default=0), filtered)


def _pack_metadata(metadata: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return the metadata, equal entries stored once since documents often share theirs; nothing if it is too large."""
    encoded = [_json(entry) for entry in metadata]
    distinct = list(dict.fromkeys(encoded))
    if sum(map(len, distinct)) > MAX_METADATA:
        return {}
    numbers = {entry: number for number, entry in enumerate(distinct)}
    return {
        "metadata": [orjson.Fragment(entry) for entry in distinct],
        "about": [numbers[entry] for entry in encoded],
    }


def _json(entry: Mapping[str, Any]) -> bytes:
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(entry, default=str, option=options)
    except TypeError:  # an integer of more than 64 bits, or nested too deep
        return orjson.dumps(plain_metadata(entry), default=str, option=options)


def passages_of(data: bytes) -> npt.NDArray[np.int64]:
    """Return only the numbers of the texts, from packed candidates."""
    _, flags, count = _HEAD.unpack_from(data)
    return np.frombuffer(data, "<u8" if flags & _WIDE else "<u4", count, _HEAD.size).astype(np.int64)
