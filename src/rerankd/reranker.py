"""The reranker of the library: one model in this process.

It ranks queries and scores pairs, from several threads at once; the engine and the server batch across callers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt

from rerankd._common.instruction import IGNORED
from rerankd._common.logging import logger
from rerankd._common.progress import progress_bar
from rerankd._common.timing import StepTimer
from rerankd._common.validation import DocumentLike, check_positive, to_pairs
from rerankd.compiler.first_use import FirstUse, open_compiled
from rerankd.models.files import ModelFiles, load_model
from rerankd.ranking.activation import activate, check_activation
from rerankd.ranking.finish import RequestScores, finish
from rerankd.ranking.requests import RequestOptions, build_requests
from rerankd.ranking.spans import add_spans
from rerankd.rules.rule_file import read_rules
from rerankd.rules.rule_set import RuleSet
from rerankd.scoring.backend import half_precision
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.fingerprint import model_fingerprint
from rerankd.scoring.scorer import Scorer
from rerankd.scoring.truncation_defaults import TruncationDefaults, checked_length
from rerankd.types import (
    Activation,
    LongDocuments,
    PairScore,
    Precision,
    Recorder,
    RerankRequest,
    RerankResult,
    Truncation,
)

_log = logger(__name__)
DEFAULT_TOP_N = 5
DEFAULT_MAX_BATCH_TOKENS = 16384


class Reranker:
    """A reranker: ranks documents by how well they answer a query. Thread-safe.

    Args:
        model: `mini` (bundled), a folder, `org/name[@revision]` on the hub, or `registry:name[@alias or number]`.
        backend: `auto`, `native` (CPUs with AMX or AVX-512 VNNI), `onnx` (compiled models) or `torch` (others).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16`, `bf16` or `int8`; `auto` for the best of model and machine.
        use_fp16: same as `precision="fp16"`, as FlagEmbedding names it; ignored on a CPU.
        max_length: longest pair in tokens, special tokens included; None for what the model was saved with.
        truncation: `only_second` (cut the document, and a query beyond 3/4 of max_length) or `longest_first`.
        long_documents: `truncate`, or `chunk`: overlapping chunks are scored, and the best one counts.
        chunk_overlap: tokens that neighbouring chunks share.
        max_chunks: chunks of one document that are read at most.
        instruction: what counts as relevant, for models that read an instruction; None for the model's own.
        batch_size: sequences computed together at most; None for no limit but tokens.
        max_batch_tokens: tokens computed together at most.
        threads: CPU threads; 0 for one per core.
        compile: True to compile a checkpoint for the CPU at its first use, and keep the result; False to run it as is.
        token: access token for the hub; None for `HF_TOKEN`.
        cache_dir: the hub's cache folder; None for its default.
        registry: tracking URI of MLflow; None for `RERANKD_REGISTRY`, or the user's own store.
        recorder: receives every ranking, such as a `rerankd.traces.TraceWriter`; None for no traces.
        rules: rule file, or a `RuleSet`; None for no rules.

    Raises:
        ModelError: the model cannot be found, is not supported, or its files are damaged.
        InvalidRequestError: options that contradict each other.
        MissingDependencyError: the backend is not installed.

    Example:
        >>> reranker = Reranker()
        >>> result = reranker.rank("capital of France", ["Paris is the capital of France.", "Pears are fruit."])
        >>> result[0].index
        0
    """

    def __init__(
        self,
        model: str = "mini",
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: Precision = "auto",
        use_fp16: bool = False,
        max_length: int | None = None,
        truncation: Truncation = "only_second",
        long_documents: LongDocuments = "truncate",
        chunk_overlap: int = 64,
        max_chunks: int = 16,
        instruction: str | None = None,
        batch_size: int | None = None,
        max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
        threads: int = 0,
        compile: bool = True,  # noqa: A002  the word for it
        token: str | None = None,
        cache_dir: str | None = None,
        registry: str | None = None,
        recorder: Recorder | None = None,
        rules: str | Path | RuleSet | None = None,
    ) -> None:
        self.rules = rules if isinstance(rules, RuleSet) else read_rules(Path(rules)) if rules else RuleSet(())
        self.files: ModelFiles = load_model(str(model), token=token, cache_dir=cache_dir, registry=registry)
        options = TruncationOptions(
            checked_length(self.files, max_length), truncation, long_documents, chunk_overlap, max_chunks
        )
        self._truncation = TruncationDefaults(self.files, options, instruction)
        check_positive(batch_size=batch_size, max_batch_tokens=max_batch_tokens)
        self._batch_size, self._max_batch_tokens = batch_size, max_batch_tokens
        if use_fp16 and precision == "auto":
            precision = half_precision(self.files, backend, device)
        runtime = open_compiled(self.files, FirstUse(backend, device, precision, threads, compile, cache_dir))
        self._scorer = Scorer(PairEncoder(self.files.tokenizer(), self.files.manifest.template), runtime)
        self._recorder = recorder
        _log.info("Loaded %s on %s, max_length %d", self.model, self.backend, self.max_length)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.files.manifest.name

    @cached_property
    def version(self) -> str:
        """Fingerprint of the model's files and of the backend; scores of equal fingerprints are comparable."""
        return model_fingerprint(self.files, self._scorer.backend)

    @property
    def backend(self) -> str:
        """Backend, device and precision, such as `onnx cpu int8`."""
        backend = self._scorer.backend
        return f"{backend.name} {backend.device} {backend.precision}"

    @property
    def max_length(self) -> int:
        """Longest pair that is read, in tokens, special tokens included."""
        return self._truncation.options.max_length

    @property
    def instruction(self) -> str | None:
        """Instruction of calls that pass none; None for the model's own, or for none."""
        return self._truncation.options.instruction

    @property
    def takes_instruction(self) -> bool:
        """True if the model reads an instruction with each pair."""
        return self.files.manifest.template.takes_instruction

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RequestOptions],
    ) -> RerankResult:
        """Rank documents by how well they answer a query.

        Args:
            query: the question.
            documents: strings, `Document`s, dicts with `text` and optionally `id` and `metadata`, or a data frame.
            top_n: number of documents to return; None returns all.
            activation: `sigmoid`, `none`, or `softmax` over the documents; None for what the model was saved with.
            threshold: lowest sigmoid score to return, 0 to 1; a probability for calibrated models. None returns all.
            fusion: `weighted` or `rrf` fuses the ranking with the first stage's order, or with the documents' `score`.
            fusion_weight: weight of the first stage, the model's is 1; None for the method's default.
            instruction: overrides the reranker's instruction for this call. A model that reads none ignores it, and
                `RerankResult.warnings` says so.
            spans: `SpanOptions` to also score the sentences of the returned documents, as `RankedDocument.spans`.
            max_length: overrides the reranker's max_length for this call.
            batch_size: overrides the reranker's batch_size for this call.
            show_progress: True draws a progress bar on standard error.

        Returns:
            The best `top_n`, best first; equal scores keep their order, blank documents are last.

        Raises:
            InvalidRequestError: an empty query, or something that is not a document.
            ScoringError: the model gave no usable score.

        Example:
            >>> Reranker().rank("what eats bamboo?", ["A panda eats bamboo.", "A car."], top_n=1)[0].document.text
            'A panda eats bamboo.'
        """
        return self.rank_batch([query], [documents], top_n, **options)[0]

    def rank_batch(
        self,
        queries: Sequence[str],
        documents: Sequence[Iterable[DocumentLike]],
        top_n: int | None = DEFAULT_TOP_N,
        **options: Unpack[RequestOptions],
    ) -> list[RerankResult]:
        """Rank several queries, each with its own documents; they are computed together.

        Args:
            queries: the queries.
            documents: one list of documents for each query.
            top_n: number of documents to return for each query; None returns all.
            **options: the keyword arguments of `rank`.

        Returns:
            One result for each query, in their order.

        Raises:
            InvalidRequestError: queries and documents that do not match; other errors as for `rank`.

        Example:
            >>> results = Reranker().rank_batch(["panda food", "fast cars"], [["Bamboo."], ["Fuel.", "Snow."]])
            >>> [len(result) for result in results]
            [1, 2]
        """
        options["activation"] = options.get("activation") or self.files.activation
        requests = build_requests(queries, documents, top_n, options)
        instruction = options.get("instruction")
        truncation = self._truncation.changed(options.get("max_length"), instruction)
        ignored = (IGNORED,) if self._truncation.ignores(instruction) else ()
        score = partial(
            self._score,
            truncation=truncation,
            batch_size=options.get("batch_size"),
            show_progress=options.get("show_progress", False),
        )
        read = [self.rules.expand_query(request.query) for request in requests]
        timer = StepTimer()
        scores = score(
            [(query, [each.text for each in request.documents]) for query, request in zip(read, requests, strict=True)],
            timer=timer,
        )
        timings = timer.with_total()
        results = [
            self._finish(request, request_scores, timings, truncation, ignored)
            for request, request_scores in zip(requests, scores, strict=True)
        ]
        return results if options.get("spans") is None else add_spans(requests, read, results, scores, score)

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        activation: Activation | None = None,
        instruction: str | None = None,
        max_length: int | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> npt.NDArray[np.float64]:
        """Score (query, document) pairs without ranking them.

        Args:
            pairs: pairs of strings, also the rows of an array or of a data frame with `query` and `document`.
            activation: `sigmoid`, `none`, or `softmax` over all pairs; None for what the model was saved with.
            instruction: overrides the reranker's instruction for this call; a model that reads none ignores it, with a
                `UserWarning`.
            max_length: overrides the reranker's max_length for this call.
            batch_size: overrides the reranker's batch_size for this call.
            show_progress: True draws a progress bar on standard error.

        Returns:
            Scores in the order of the pairs, shape (pairs,), float64.

        Raises:
            InvalidRequestError: something that is not a pair of strings.
            ScoringError: the model gave no usable score.

        Example:
            >>> Reranker().score([("what is a panda?", "The panda is a bear.")]).shape
            (1,)
        """
        activation = activation or self.files.activation
        check_activation(activation)
        checked = to_pairs(pairs)
        positions: dict[str, list[int]] = {}  # of the pairs, by query: a query is tokenized once
        for position, pair in enumerate(checked):
            positions.setdefault(pair.query, []).append(position)
        groups = [(query, [checked[i].document for i in members]) for query, members in positions.items()]
        logits = np.empty(len(checked), dtype=np.float64)
        truncation = self._truncation.changed(max_length, instruction)
        scored = self._score(groups, truncation, batch_size, show_progress, StepTimer())
        for members, scores in zip(positions.values(), scored, strict=True):
            logits[members] = [score.raw_score for score in scores]
        return activate(logits.tolist(), activation)

    def _score(
        self,
        groups: Sequence[tuple[str, Sequence[str]]],
        truncation: TruncationOptions,
        batch_size: int | None,
        show_progress: bool,
        timer: StepTimer,
    ) -> list[list[PairScore]]:
        check_positive(batch_size=batch_size)
        with progress_bar("scoring", show_progress) as advance:
            return self._scorer.score(
                groups,
                truncation,
                max_batch_tokens=self._max_batch_tokens,
                max_batch_pairs=batch_size or self._batch_size,
                timer=timer,
                progress=advance,
            )

    def _finish(
        self,
        request: RerankRequest,
        scores: list[PairScore],
        timings: Mapping[str, float],
        truncation: TruncationOptions,
        ignored: tuple[str, ...],
    ) -> RerankResult:
        rules = self.rules
        adjustments = rules.adjustments(request.query, request.documents) if rules.rules else ()
        version = self.version if self._recorder is not None else ""  # hashing the model's files takes time
        scored = RequestScores(
            scores,
            self.model,
            version,
            truncation.max_length,
            timings,
            instruction=truncation.instruction,
            warnings=ignored,
        )
        result, record = finish(request, scored, adjustments, rules=rules.version, now=time.time())
        if self._recorder is not None:
            self._recorder.record(record)
        return result
