"""Warnings about options of a request that have no effect with the model or the options that serve it."""

from __future__ import annotations

from rerankd._common.instruction import IGNORED
from rerankd.engine.pool import ModelPool
from rerankd.errors import ModelNotFoundError
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import TruncationOverrides


def unhonoured(overrides: TruncationOverrides, options: TruncationOptions, *, takes_instruction: bool) -> list[str]:
    """Return a warning for each override that has no effect, which begins with the field's name over HTTP.

    Args:
        overrides: overrides of the request.
        options: truncation that the overrides lead to.
        takes_instruction: True if the model reads an instruction.

    Example:
        >>> overrides = TruncationOverrides(chunk_overlap=8, instruction="Retrieve statutes.")
        >>> unhonoured(overrides, TruncationOptions(512, chunk_overlap=8), takes_instruction=True)
        ['overlap_tokens is only for documents that are read in chunks and was ignored']
    """
    warnings = [IGNORED] if overrides.instruction is not None and not takes_instruction else []
    if options.long_documents == "truncate":
        chunks = {"overlap_tokens": overrides.chunk_overlap, "max_chunks_per_doc": (overrides.max_chunks or 1) > 1}
        names = [name for name, value in chunks.items() if value]
        return [*warnings, *(f"{name} is only for documents that are read in chunks and was ignored" for name in names)]
    if overrides.truncation == "longest_first":
        warnings.append("truncation is only for documents that are read in one piece and was ignored")
    return warnings


def unknown_model_warnings(pool: ModelPool, requested: str | None) -> list[str]:
    """Return a warning if a request names a model that the pool does not have: the default answers.

    Args:
        pool: the models.
        requested: name in the request; None for none.
    """
    if not requested:
        return []
    try:
        pool.find(requested)
    except ModelNotFoundError:
        return [f"model {requested[:100]!r} is unknown; {pool.default!r} was used"]
    return []
