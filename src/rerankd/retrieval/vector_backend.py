"""Backend that computes vectors of texts, so that an engine batches them as it batches the pairs of a reranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rerankd._common.optional import require
from rerankd._common.processor import usable_cores
from rerankd.compiler.encoder_graph import Pooling, graph_bytes
from rerankd.models.checkpoint import Checkpoint
from rerankd.models.families.bert import BertArchitecture, as_bert
from rerankd.models.files import ModelFiles
from rerankd.models.session import open_session
from rerankd.retrieval.embedding import Vectors
from rerankd.retrieval.pooling import read_pooling
from rerankd.scoring.encoder import EncodedPair

MAX_DUPLICATED_BYTES = 300_000_000  # graphs up to this size are loaded twice, as by `OnnxBackend`


class VectorBackend:
    """ONNX Runtime on the CPU for a text encoder. Thread-safe.

    As with `OnnxBackend`, int8 runs one unpadded text at a time, so that a vector depends on its text alone, and
    several texts are computed side by side, one core each.

    Args:
        graph: graph of the encoder, serialized ONNX.
        architecture: shape of the encoder.
        pooling: pooling in the graph.
        precision: precision of the graph, `int8` or `fp32`.
        threads: CPU threads; 0 for one per core that this process may use.
        side_by_side: True to load a second session with one thread, for texts that are computed side by side.

    Attributes:
        pooling: pooling of the encoder, `mean` or `cls`.
        dimensions: number of dimensions of a vector.
    """

    name = "onnx"
    device = "cpu"
    reason = "a text encoder: ONNX Runtime on the CPU"
    max_batch_tokens: int | None = 384
    max_padding: float | None = 0.05
    workers = 1
    single_thread: VectorBackend | None = None

    def __init__(
        self,
        graph: bytes,
        architecture: BertArchitecture,
        pooling: Pooling,
        precision: str,
        *,
        threads: int = 0,
        side_by_side: bool = False,
    ) -> None:
        self.pooling, self.precision = pooling, precision
        self.dimensions, self._segments, self._pad_id = architecture.hidden, architecture.segments, architecture.pad_id
        self.max_batch_pairs: int | None = None if precision == "fp32" else 1
        cores = threads or usable_cores()
        self._session = open_session(graph, cores)
        if side_by_side and cores > 1 and len(graph) <= MAX_DUPLICATED_BYTES:
            self.workers, self.single_thread = cores, VectorBackend(graph, architecture, pooling, precision, threads=1)

    def logits(self, pairs: Sequence[EncodedPair]) -> Vectors:
        """Return unit vectors of the texts, computed in one run, shape (texts, dimensions), float32."""
        shape = (len(pairs), max(map(len, pairs)))
        ids, mask = np.full(shape, self._pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair)] = pair.ids
            mask[row, : len(pair)] = 1
        feed = {"input_ids": ids, "attention_mask": mask}
        if self._segments:
            feed["token_type_ids"] = np.zeros(shape, dtype=np.int64)
        vectors: Vectors = self._session.run(["vectors"], feed)[0]
        return vectors

    def release(self) -> None:
        """Do nothing: the runtime caches no memory, since its arena is off."""


def open_vector_backend(
    files: ModelFiles, *, precision: str = "int8", threads: int = 0, side_by_side: bool = False
) -> VectorBackend:
    """Compile a text encoder in memory and load it.

    Args:
        files: checked files of the encoder, see `models.encoder_files`.
        precision: `int8` or `fp32`.
        threads: CPU threads; 0 for one per core.
        side_by_side: as for `VectorBackend`.

    Raises:
        UnsupportedModelError: its pooling is not supported.
        CorruptModelError: weights are missing or damaged.
        MissingDependencyError: the packages that compile it are not installed.
    """
    require("onnx", "torch", "Running an encoder")
    architecture = as_bert(files.manifest.architecture, "An encoder")
    checkpoint = Checkpoint(files.folder, architecture, head=False)
    pooling = read_pooling(files.folder)
    graph = graph_bytes(architecture, checkpoint.tensor, precision, pooling)
    return VectorBackend(graph, architecture, pooling, precision, threads=threads, side_by_side=side_by_side)
