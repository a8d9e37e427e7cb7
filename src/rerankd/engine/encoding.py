"""Encoding: turns the texts of requests into queued sequences, a slice of a request at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from rerankd._common.logging import logger
from rerankd.engine.admission import TokenEstimate
from rerankd.engine.cache import ScoreCache, pair_keys
from rerankd.engine.in_flight import InFlight
from rerankd.engine.observer import EngineObserver
from rerankd.engine.request import EngineRequest, InFlightPair, QueryGroup
from rerankd.errors import InvalidRequestError, RerankdError
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions

_log = logger(__name__)
SLICE_PAIRS = 128
SLICE_CHARACTERS = 500_000


class RequestEncoder:
    """Encodes requests in a thread of its own; requests take turns after each slice.

    Args:
        encoder: encoder with the model's tokenizer.
        in_flight: pairs in flight, guarded by `changed`.
        changed: lock of the engine, notified when sequences were queued.
        name: name of the model, for the observer and the log.
        version: fingerprint of the model, part of the cache's keys.
        cache: score cache; None for none.
        shared_cache: True if tenants share scores and pairs in flight.
        observer: observer of encoded slices and look-ups in the cache.
        clock: monotonic seconds.
        on_error: called with a request that cannot be encoded and the reason.
    """

    def __init__(
        self,
        encoder: PairEncoder,
        in_flight: InFlight,
        changed: threading.Condition,
        *,
        name: str,
        version: str,
        cache: ScoreCache | None,
        shared_cache: bool,
        observer: EngineObserver,
        clock: Callable[[], float],
        on_error: Callable[[EngineRequest, RerankdError], None],
    ) -> None:
        self._encoder, self._in_flight, self._changed = encoder, in_flight, changed
        self._name, self._version, self._cache, self._observer, self._clock = name, version, cache, observer, clock
        self._shared_cache, self._on_error = shared_cache, on_error
        self._estimate = TokenEstimate()
        self.executor = ThreadPoolExecutor(1, thread_name_prefix=f"encode {name}")

    def estimate_tokens(self, groups: Sequence[QueryGroup], truncation: TruncationOptions) -> int:
        """Return about the tokens that scoring the groups would compute."""
        chunks = truncation.max_chunks if truncation.long_documents == "chunk" else 1
        longest = truncation.max_length * chunks
        special, instruction = self._encoder.special, truncation.instruction or ""  # it is read with each pair
        return sum(self._estimate(documents, instruction + query, longest, special) for query, documents in groups)

    def encode_slice(self, request: EngineRequest) -> None:
        """Encode the next slice of a request and queue it; the rest comes after the next slices of other requests."""
        try:
            if request not in self._in_flight:
                return
            started = self._clock()
            positions = _next_slice(request.request.groups, request.next_pair)
            request.next_pair += len(positions)
            last = request.next_pair >= request.request.pairs
            estimate = request.unencoded
            if not last:
                estimate = request.estimate * len(positions) // max(request.request.pairs, 1)
            for group, members in itertools.groupby(positions, key=lambda position: position[0]):
                self._encode_group(request, group, [position for _, position in members])
            seconds = self._clock() - started
            with self._changed:
                request.encode_seconds += seconds
                finished = self._in_flight.finish_slice(request, estimate, last=last)
                self._changed.notify_all()
            self._observer.encoded(self._name, seconds)
            for answered in finished:  # from the cache, or by pairs that were computed in the meantime
                answered.finish(self._clock())
            if not last:
                self.executor.submit(self.encode_slice, request)
        except RerankdError as error:
            self._on_error(request, error)
        except BaseException as error:  # a Rust panic in the tokenizer is not an Exception
            _log.exception("%s: tokenization failed", self._name, exc_info=error)
            self._on_error(request, RerankdError("The texts could not be tokenized."))

    def _encode_group(self, request: EngineRequest, group: int, documents_at: list[int]) -> None:
        """Look scores up, join pairs in flight, encode and queue the rest."""
        query, documents = request.request.groups[group]
        truncation, use_cache = request.request.truncation, request.request.cache and self._cache is not None
        scope = "" if self._shared_cache else request.request.cache_scope
        texts = [documents[position] for position in documents_at]
        keys = pair_keys(self._version, truncation, query, texts, scope=scope)
        positions_of: dict[bytes, list[tuple[int, int]]] = {}
        for key, position in zip(keys, documents_at, strict=True):
            positions_of.setdefault(key, []).append((group, position))
        cached = self._cache.get(list(positions_of)) if self._cache is not None and use_cache else {}
        with self._changed:
            if request not in self._in_flight:
                return
            for key, positions in positions_of.items():
                request.positions.setdefault(key, []).extend(positions)
                if key in cached:
                    request.set_score(key, cached[key])
                    request.cached += len(positions)
            missing = [key for key in positions_of if key not in cached and not self._in_flight.join(request, key)]
        if use_cache:
            self._observer.cached(self._name, len(cached), len(positions_of) - len(cached))
        texts = [documents[positions_of[key][0][1]] for key in missing]
        encoded = self._encoder.encode(query, texts, truncation)
        if not request.request.allow_truncation and (first := _first_truncated(encoded)) is not None:
            raise document_too_long(positions_of[missing[first]][0][1], truncation, alone=not query)
        pairs = [InFlightPair(key, chunks, request.request.cache) for key, chunks in zip(missing, encoded, strict=True)]
        with self._changed:
            if request in self._in_flight:
                request.queued = request.queued or self._clock()
                self._in_flight.enqueue(request, pairs)
        if texts:
            estimate = self.estimate_tokens([(query, texts)], truncation)
            self._estimate.update(estimate, sum(pair.tokens for pair in pairs))


def document_too_long(position: int, truncation: TruncationOptions, *, alone: bool = False) -> InvalidRequestError:
    """Return the error for a document that would be truncated where truncation is not allowed.

    Args:
        position: position of the document.
        truncation: truncation of the pairs.
        alone: True if the document is a text without a query.
    """
    name = f"Text {position}" if alone else f"Document {position} with the query"
    return InvalidRequestError(
        f"{name} is longer than {truncation.max_length} tokens, and truncation is off.",
        hint="Allow truncation, or send shorter texts.",
    )


def _first_truncated(encoded: Sequence[Sequence[EncodedPair]]) -> int | None:
    return next((n for n, chunks in enumerate(encoded) if any(chunk.truncated for chunk in chunks)), None)


def _next_slice(groups: Sequence[QueryGroup], start: int) -> list[tuple[int, int]]:
    """Return the next positions to encode: few enough pairs and characters that other requests do not wait long."""
    positions: list[tuple[int, int]] = []
    characters = 0
    for group, position in itertools.islice(_positions(groups), start, start + SLICE_PAIRS):
        if positions and characters > SLICE_CHARACTERS:
            break
        characters += len(groups[group][1][position])
        positions.append((group, position))
    return positions


def _positions(groups: Sequence[QueryGroup]) -> Iterator[tuple[int, int]]:
    for group, (_, documents) in enumerate(groups):
        for position in range(len(documents)):
            yield group, position
