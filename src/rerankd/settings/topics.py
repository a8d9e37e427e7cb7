"""Every setting with its type, limits, default and meaning, grouped by topic; `model_topics` has those of models.

The classes are the only list of settings: flags, environment variables, validation and `docs/reference/settings.md` are
derived from them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from rerankd.settings.model_topics import (
    BatchingSettings,
    CacheSettings,
    ModelSettings,
    RankingSettings,
    ServedModelSettings,
)


class ServerSettings(BaseModel):
    """HTTP server: address, limits and shutdown."""

    host: str = Field("127.0.0.1", description="address the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the service listens on; 0 for a free one")
    request_timeout: float = Field(
        0.0, ge=0, description="deadline in seconds for requests that do not set one; 0 for none"
    )
    head_seconds: float = Field(
        10.0, gt=0, description="seconds within which the head of a request arrives; a slower connection is closed"
    )
    max_connections: int = Field(
        1000,
        ge=0,
        description="most connections of one address at once, those of a proxy too, and at most half of the files that "
        "the process may open; more get 503; 0 for that half",
    )
    max_body_mb: float = Field(32.0, gt=0, description="largest request body in MB")
    max_documents: int = Field(10_000, ge=1, description="most documents in one request")
    max_queries: int = Field(1000, ge=1, description="most rankings in one request to /v1/rerank/batch")
    max_inflight_mb: float = Field(
        1024.0, gt=0, description="request bodies held in memory at once in MB; requests beyond that get 503"
    )
    max_json_depth: int = Field(32, ge=4, le=512, description="deepest nesting of a request body")
    cors_origins: list[str] = Field(
        default_factory=list, description="web origins that may call the API (CORS); none if empty"
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="host names that requests may be for, such as rank.example.com or *.example.com; if empty, any, "
        "but without API keys on a loopback address only loopback names",
    )
    mcp: bool = Field(False, description="serve tools for agents at /mcp (MCP over streamable HTTP; extra mcp)")
    trusted_proxies: list[str] = Field(
        default_factory=lambda: ["127.0.0.1", "::1"],
        description="addresses and networks whose X-Forwarded-For header is trusted; [] for none",
    )
    drain_seconds: float = Field(
        0.0, ge=0, description="seconds between SIGTERM and closing the port, for load balancers to notice"
    )
    shutdown_seconds: float = Field(60.0, gt=0, description="seconds for accepted requests to finish at shutdown")


class AccessSettings(BaseModel):
    """API keys."""

    api_keys: list[str] = Field(
        default_factory=list, description="API keys in clear text, best set as an environment variable"
    )
    metrics_keys: list[str] = Field(
        default_factory=list,
        description="keys in clear text that may read /metrics and nothing else; it needs one, or an admin key, "
        "where API keys are required",
    )
    api_keys_file: str | None = Field(
        None, description="file of hashed keys with quotas, written by `rerankd keys add`"
    )


class ConsoleSettings(BaseModel):
    """Console: pages at `/console`."""

    console: bool = Field(True, description="serve the console's pages at /console")
    console_secret: str | None = Field(
        None,
        min_length=16,
        description="secret that signs the console's session cookies, the same for all instances behind one proxy; "
        "empty for a random one, which lasts until the instance ends",
    )
    console_hours: float = Field(12.0, gt=0, le=720, description="hours until a session of the console ends")
    evaluation_folders: list[str] = Field(
        default_factory=list,
        description="folders whose BEIR folders the console's admins may evaluate models on; they are only read",
    )


class JobSettings(BaseModel):
    """Asynchronous jobs and webhooks."""

    queue_url: str | None = Field(
        None,
        pattern=r"^(rediss?|unix)://",
        description="Redis for jobs and workers; empty to run jobs inside the service",
    )
    jobs_path: str | None = Field(
        None, description="SQLite file of jobs run inside the service; empty for one in the user's state folder"
    )
    max_jobs: int = Field(10_000, ge=1, description="most unfinished jobs")
    max_jobs_mb: float = Field(2048.0, gt=0, description="most text in unfinished jobs, in MB")
    max_jobs_share: float = Field(
        0.5, gt=0, le=1, description="largest share of max_jobs and max_jobs_mb that one API key may take"
    )
    job_seconds: float = Field(86_400.0, gt=0, description="retention of finished jobs and their results in seconds")
    job_attempts: int = Field(3, ge=1, description="attempts before a failing part of a job is given up")
    job_request_seconds: float = Field(
        900.0, gt=0, description="timeout in seconds for one request of a job; beyond it the attempt has failed"
    )
    lease_seconds: float = Field(
        30.0, ge=1, description="seconds without a sign of life after which a worker loses its lease on a part of a job"
    )
    worker_threads: int = Field(16, ge=1, le=512, description="parts of jobs that a worker processes concurrently")
    webhook_secret: str | None = Field(
        None, description="secret that signs webhooks, in base64 as printed by `rerankd jobs secret`"
    )
    webhook_hosts: list[str] = Field(
        default_factory=list, description="hosts that webhooks may call; empty for any public address"
    )


class SearchSettings(BaseModel):
    """Search and ask: index, first stage, embeddings and language model."""

    index: str | None = Field(None, description="folder of the index; empty for one in the user's state folder")
    retriever: Literal["lance", "milvus", "external"] = Field("lance", description="first stage of search and ask")
    milvus_url: str = Field("http://localhost:19530", description="address of Milvus, or a file for Milvus Lite")
    milvus_token: str | None = Field(None, description="Milvus token, or user:password")
    external: dict[str, str] = Field(
        default_factory=dict, description="your own search service: url, body, hits, text, ...; see docs/rag.md"
    )
    embedding_model: str | None = Field(
        None,
        description="encoder for dense retrieval: a folder or org/name, or with embedding_url the model's name there; "
        "empty for keyword search only",
    )
    embedding_url: str | None = Field(
        None, pattern=r"^https?://", description="OpenAI-compatible embeddings endpoint, up to and including /v1"
    )
    embedding_api_key: str | None = Field(None, description="API key of the embeddings endpoint")
    embedding_prefixes: str = Field(
        "", description="prefixes of queries and passages, separated by |, such as query: |passage: for e5"
    )
    search_k: int = Field(50, ge=1, le=1000, description="documents retrieved by the first stage")
    search_threshold: float = Field(0.15, ge=0, le=1, description="lowest score of a passage to keep")
    answer_threshold: float = Field(
        0.35, ge=0, le=1, description="lowest score at which a passage supports a sentence without a citation"
    )
    search_tokens: int = Field(2000, ge=16, description="token budget for the passages of an answer")
    llm_url: str | None = Field(
        None, pattern=r"^https?://", description="OpenAI-compatible chat endpoint, up to and including /v1"
    )
    llm_model: str | None = Field(None, description="name of the language model at that endpoint")
    llm_api_key: str | None = Field(None, description="API key of the chat endpoint")
    llm_timeout: float = Field(60.0, gt=0, description="seconds to wait for the next token")
    llm_max_tokens: int = Field(1024, ge=1, description="most tokens of an answer")


class TraceSettings(BaseModel):
    """Traces, feedback, bad cases and monitoring."""

    traces: bool = Field(True, description="record every ranking with its texts, before and after; see docs/traces.md")
    traces_url: str | None = Field(
        None,
        pattern=r"^(sqlite|postgres(ql)?)://",
        description="database of traces, feedback and experiments; empty for a SQLite file in the user's state folder",
    )
    traces_seconds: float = Field(
        1.0, ge=0.01, le=60, description="seconds within which a trace is written, and what a killed process can lose"
    )
    traces_queue: int = Field(10_000, ge=1, description="most traces waiting to be written; more are dropped")
    traces_queue_mb: float = Field(64.0, gt=0, description="most text in waiting traces, in MB")
    traces_sample: dict[str, float] = Field(
        default_factory=dict, description="share of rankings to record by key id, with * for all others; empty for all"
    )
    traces_redact: list[str] = Field(
        default_factory=list, description="patterns masked before a trace is stored: email, phone, cn_id; none if empty"
    )
    traces_redactor: str | None = Field(
        None, description="your own redaction function for texts, as package.module:function"
    )
    traces_days: float = Field(30.0, ge=0, description="retention of traces in days; 0 for unlimited")
    traces_mb: float = Field(
        10_000.0,
        ge=0,
        description="largest size of the database in MB, which keys share equally: those above their share lose their "
        "oldest traces; 0 for no limit",
    )
    feedback_per_minute: int = Field(
        10_000, ge=0, description="items of feedback that one key may send in a minute; 0 for no limit"
    )
    feedback_hours: float = Field(24.0, ge=0, description="hours that feedback waits for the trace of its request")
    cases: bool = Field(True, description="detect bad cases in traces and feedback every minute")
    monitor_window: float = Field(3600.0, ge=60, description="time window of the ranking gauges in seconds")
    monitor_reference: float = Field(
        604_800.0, ge=60, description="length in seconds of the reference window before it, for drift"
    )


class RegistrySettings(BaseModel):
    """Model registry, gate and experiments."""

    registry: str | None = Field(
        None,
        pattern=r"^(https?://|sqlite:///)",
        description="MLflow server or SQLite file of registered models; empty for one in the user's state folder",
    )
    registry_seconds: float = Field(
        10.0, ge=0.1, le=3600, description="seconds within which an instance follows an alias that moved"
    )
    gate_key: str | None = Field(None, description="key that signs gate records (HMAC-SHA256), at least 16 characters")
    rollout: bool = Field(True, description="take part in A/B tests and canary releases in the database of traces_url")
    rollout_seconds: float = Field(5.0, ge=0.05, le=3600, description="seconds between reads of the experiments")


class LoggingSettings(BaseModel):
    """Logs and OpenTelemetry."""

    log_format: Literal["text", "json"] = Field("text", description="format of log lines: text or json")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="level of log messages: debug, info, warning or error"
    )
    otel_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="OTLP/HTTP endpoint for OpenTelemetry spans; empty for none"
    )
    otel_texts: bool = Field(False, description="put queries, texts and answers into spans, cut to 2,000 characters")
    otel_documents: int = Field(20, ge=0, le=100, description="documents that a span describes, by id and score")


TOPICS: tuple[type[BaseModel], ...] = (
    ModelSettings,
    RankingSettings,
    ServerSettings,
    ServedModelSettings,
    BatchingSettings,
    CacheSettings,
    AccessSettings,
    ConsoleSettings,
    JobSettings,
    SearchSettings,
    TraceSettings,
    RegistrySettings,
    LoggingSettings,
)
