"""The candidates of a trace as bytes: fifty of them take some 700, where fifty rows take ten times that.

Layout, little-endian: version, flags, count; then one array after the other, each as long as there are candidates;
then JSON with what is rare. Arrays that hold nothing but their usual value are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from rerankd.errors import RerankdError

VERSION = 1
MAX_METADATA = 32_768
_HEAD = struct.Struct("<BBI")
_WIDE, _BEFORE, _TRUNCATED, _CHUNKS, _REST = 1, 2, 4, 8, 16
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a ranking had to choose from, in the order it came in.

    Attributes:
        passages: number of each text in the store, int64.
        raw_scores: logits, float32.
        final_scores: what was shown, float32.
        ranks: place after, from 1.
        scores_before: of the first stage, NaN where there was none; empty if it sent none at all.
        truncated: whether the model did not read all of it; empty if it read all of all.
        chunks: windows it was read in; empty if that was one each.
        ids: the caller's names; empty if it sent none.
        rules: what rules did to a candidate, by its place; empty if they did nothing.
        metadata: the caller's own, one for each; empty if none has any.

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

    def __len__(self) -> int:
        return len(self.passages)


def pack(candidates: Candidates) -> bytes:
    """Candidates as bytes."""
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
        rest["rules"] = {str(place): list(names) for place, names in candidates.rules.items()}
    if any(candidates.metadata):
        rest |= _metadata(candidates.metadata)
    if rest:
        flags |= _REST
        parts.append(orjson.dumps(rest))
    return b"".join([_HEAD.pack(VERSION, flags, count), *parts])


def unpack(data: bytes) -> Candidates:
    """What `pack` was given.

    Raises:
        RerankdError: bytes of another layout, or cut off.
    """
    try:
        return _unpacked(data)
    except (struct.error, ValueError) as error:
        raise RerankdError(f"A trace's candidates are damaged ({error}).", hint="Check the database.") from error


def _unpacked(data: bytes) -> Candidates:
    version, flags, count = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"layout {version} is not known here")
    place = _HEAD.size

    def take(kind: str, items: int = count) -> Array:
        nonlocal place
        array: Array = np.frombuffer(data, np.dtype(kind), items, place)
        place += array.nbytes
        return array

    passages = take("<u8" if flags & _WIDE else "<u4").astype(np.int64)
    raw, final = take("<f4").astype(np.float32), take("<f4").astype(np.float32)
    ranks = take("<u2" if count <= 0xFFFF else "<u4").astype(np.int64)
    before = take("<f8").astype(np.float64) if flags & _BEFORE else np.empty(0)
    bits = take("u1", -(-count // 8)).astype(np.uint8) if flags & _TRUNCATED else np.empty(0, np.uint8)
    chunks = take("<u4").astype(np.int64) if flags & _CHUNKS else np.empty(0, np.int64)
    rest = orjson.loads(data[place:]) if flags & _REST else {}
    rules = {int(name): tuple(names) for name, names in rest.get("rules", {}).items()}
    truncated = np.unpackbits(bits, count=count).astype(np.bool_) if len(bits) else np.empty(0, np.bool_)
    distinct = rest.get("metadata", ())
    metadata = tuple(distinct[number] for number in rest.get("about", ()))
    ids = tuple(rest.get("ids", ()))
    return Candidates(passages, raw, final, ranks, before, truncated, chunks, ids, rules, metadata)


def _metadata(each: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Candidates of one source often say the same: what is equal is kept once; what is too much is not kept."""
    encoded = [orjson.dumps(one, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS) for one in each]
    distinct = list(dict.fromkeys(encoded))
    if sum(map(len, distinct)) > MAX_METADATA:
        return {}
    numbers = {one: number for number, one in enumerate(distinct)}
    return {"metadata": [orjson.Fragment(one) for one in distinct], "about": [numbers[one] for one in encoded]}


def passages_of(data: bytes) -> npt.NDArray[np.int64]:
    """The numbers of the texts alone."""
    _, flags, count = _HEAD.unpack_from(data)
    return np.frombuffer(data, "<u8" if flags & _WIDE else "<u4", count, _HEAD.size).astype(np.int64)
