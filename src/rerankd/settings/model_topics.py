"""Settings of models: which are served, how they rank, and how their work is batched and cached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from rerankd.types import MAX_INSTRUCTION, LongDocuments, Precision, Truncation


class ModelSettings(BaseModel):
    """Model and truncation."""

    model: str = Field(
        "mini", description="model to use: mini, a folder, org/name[@revision], or registry:NAME[@ALIAS]"
    )
    backend: str = Field(
        "auto",
        description="backend: auto, native (CPUs with AMX or AVX-512 VNNI), onnx (compiled models), torch (others)",
    )
    device: str = Field("auto", description="device: auto, cpu, cuda or cuda:N")
    precision: Precision | None = Field(
        "auto", description="precision: fp32, fp16, bf16 or int8; auto or empty for the best of model and machine"
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0 for one per core")
    compile: bool = Field(
        True,
        description="compile: compile a checkpoint that runs on the CPU at its first use, and keep the result",
    )
    max_length: int | None = Field(None, ge=8, description="longest pair in tokens; empty for what the model has saved")
    truncation: Truncation = Field(
        "only_second", description="truncation strategy: only_second (the document) or longest_first (the longer side)"
    )
    long_documents: LongDocuments = Field(
        "truncate", description="long documents: truncate, or chunk (score overlapping chunks and keep the best)"
    )
    chunk_overlap: int = Field(64, ge=0, description="tokens shared by neighbouring chunks")
    max_chunks: int = Field(16, ge=1, description="most chunks read of one document")
    instruction: str | None = Field(
        None,
        max_length=MAX_INSTRUCTION,
        description="what counts as relevant, for models that read an instruction, where a request names nothing else; "
        "empty for the model's own",
    )
    cache_dir: str | None = Field(
        None, description="folder for models from the hub and the registry; empty for the default"
    )


class RankingSettings(BaseModel):
    """Ranking: results, rules and fusion with the first stage."""

    top_n: int = Field(5, ge=1, description="documents returned")
    rules: str | None = Field(None, description="YAML file of rules, reloaded when it changes; see docs/rules.md")
    fusion: Literal["none", "weighted", "rrf"] = Field(
        "none", description="how the first stage's score counts in the order: none, weighted or rrf"
    )
    fusion_weight: float | None = Field(
        None,
        ge=0,
        le=100,
        description="weight of the first stage, relative to 1 for the model; empty for 0.5 (weighted) or 1 (rrf)",
    )


class ServedModelSettings(BaseModel):
    """Serving several models."""

    models: dict[str, str] = Field(
        default_factory=dict, description="additional models, as name = reference; loaded on first use"
    )
    embedding_models: dict[str, str] = Field(
        default_factory=dict,
        description="text encoders to serve at /v1/embeddings and /embed, as name = reference (a folder or org/name), "
        "loaded on first use; a request that names none gets the first",
    )
    instructions: dict[str, Annotated[str, Field(max_length=MAX_INSTRUCTION)]] = Field(
        default_factory=dict,
        description="instructions of single models, as name = instruction, in place of the setting instruction; write "
        "JSON where an instruction holds a comma",
    )
    preload: list[str] = Field(
        default_factory=list, description="names in `models` and `embedding_models` to load at startup"
    )
    strict_models: bool = Field(False, description="answer 404 to unknown model names instead of using `model`")
    max_loaded_mb: int = Field(
        0, ge=0, description="memory for model weights in MB; least recently used models are unloaded; 0 for no limit"
    )


class BatchingSettings(BaseModel):
    """Dynamic batching and load shedding."""

    max_batch_tokens: int = Field(16384, ge=1, description="most tokens computed in one batch")
    batch_ms: float = Field(50.0, gt=0, description="target computing time of one batch in milliseconds")
    max_queue_seconds: float = Field(
        30.0, gt=0, description="time within which an accepted request is answered; more load is answered 429"
    )
    fairness: bool = Field(
        True, description="share the model fairly between requests and API keys; off: first come, first served"
    )


class CacheSettings(BaseModel):
    """Score cache and Redis."""

    cache: bool = Field(True, description="cache scores of pairs; a request can opt out")
    cache_shared: bool = Field(
        False,
        description="share cached scores between API keys: less to compute, but the tokens and the time of a request "
        "then tell a key whether another one ranked the same pair, for which it pays nothing",
    )
    cache_entries: int = Field(100_000, ge=0, description="most scores cached in memory")
    cache_seconds: float = Field(86_400.0, gt=0, description="time to live of scores in Redis, in seconds")
    redis_url: str | None = Field(
        None,
        pattern=r"^(rediss?|unix)://",
        description="Redis for cached scores and quota counters shared by all instances; empty for none",
    )
