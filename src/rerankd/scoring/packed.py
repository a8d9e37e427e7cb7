"""Packed batches: the sequences of a batch follow each other, so there is no padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerankd.models.architecture import Architecture
from rerankd.scoring.encoder import EncodedPair


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Concatenated sequences, one row per token.

    Attributes:
        ids: shape (tokens,), int64.
        positions: rows of the position table, shape (tokens,), int64.
        segments: 0 for the query's side, 1 for the document's, shape (tokens,), int64; all 0 for XLM-RoBERTa.
        starts: offset of each sequence, and the total at the end, shape (sequences + 1,), int32.
        lengths: tokens of each sequence.
    """

    ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int32]
    lengths: list[int]


def shared_prefix(pairs: Sequence[EncodedPair]) -> int:
    """Return the number of tokens with which all sequences begin, without the last token of any.

    Args:
        pairs: at least one sequence.
    """
    first, length = pairs[0].ids, min(map(len, pairs)) - 1
    for pair in pairs[1:]:
        different = np.flatnonzero(pair.ids[:length] != first[:length])
        length = int(different[0]) if len(different) else length
        if length == 0:
            break
    return length


def packed_rows(pairs: Sequence[EncodedPair], architecture: Architecture) -> PackedRows:
    """Concatenate sequences.

    Args:
        pairs: at least one sequence.
        architecture: architecture of the model, which decides positions and segments.
    """
    lengths = [len(pair) for pair in pairs]
    first = architecture.position_offset + 1 if architecture.position_offset else 0
    segments = np.concatenate([np.arange(len(pair)) >= pair.document_start for pair in pairs]).astype(np.int64)
    return PackedRows(
        np.concatenate([pair.ids for pair in pairs]),
        np.concatenate([np.arange(first, first + length) for length in lengths]),
        segments if architecture.segments else np.zeros_like(segments),
        np.cumsum([0, *lengths], dtype=np.int32),
        lengths,
    )
