"""Settings of programs (command line and service): defaults < rerankd.toml < RERANKD_* < flags.

The library takes arguments only; nothing is read at import time.
"""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rerankd.errors import InvalidRequestError
from rerankd.types import LongDocuments, Precision, Truncation

FILE_NAME = "rerankd.toml"


class Settings(BaseSettings):
    """Every setting with its default and its meaning."""

    model_config = SettingsConfigDict(
        env_prefix="RERANKD_",
        toml_file=FILE_NAME,
        extra="forbid",
        env_ignore_empty=True,
        enable_decoding=False,
        allow_inf_nan=False,
    )

    model: str = Field("mini", description="bundled model, folder, org/name[@revision], or registry:NAME[@ALIAS]")
    backend: str = Field("auto", description="auto, onnx or torch")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    precision: Precision | None = Field(None, description="fp32, fp16, bf16 or int8; empty for the model's own")
    max_length: int | None = Field(None, ge=8, description="longest pair in tokens; empty for the model's own")
    truncation: Truncation = Field("only_second", description="only_second or longest_first")
    long_documents: LongDocuments = Field("truncate", description="truncate or chunk")
    chunk_overlap: int = Field(64, ge=0, description="tokens that neighbouring windows share")
    max_chunks: int = Field(16, ge=1, description="windows read of one document at most")
    max_batch_tokens: int = Field(16384, ge=1, description="tokens computed together at most")
    threads: int = Field(0, ge=0, description="CPU threads; 0 for one per core")
    top_n: int = Field(5, ge=1, description="documents kept")
    rules: str | None = Field(None, description="YAML file of rules, read again when it changes; see docs/rules.md")
    fusion: Literal["none", "weighted", "rrf"] = Field(
        "none", description="how the first stage counts beside the model: none, weighted or rrf"
    )
    fusion_weight: float | None = Field(
        None, ge=0, le=100, description="of the first stage, the model's is 1; empty for 0.5 weighted, 1 rrf"
    )
    cache_dir: str | None = Field(None, description="the hub's cache folder; empty for its default")
    registry: str | None = Field(
        None,
        pattern=r"^(https?://|sqlite:///)",
        description="MLflow that holds registered models; empty for one in the user's state folder",
    )
    registry_seconds: float = Field(
        10.0, ge=0.1, le=3600, description="seconds within which an instance sees that an alias moved"
    )

    index: str | None = Field(None, description="folder of the index; empty for one in the user's state folder")
    retriever: Literal["lance", "milvus", "external"] = Field("lance", description="first stage of search and ask")
    milvus_url: str = Field("http://localhost:19530", description="Milvus, or a file of Milvus Lite")
    milvus_token: str | None = Field(None, description="user:password, or a token")
    external: dict[str, str] = Field(
        default_factory=dict, description="a search service of your own: url, body, hits, text ...; see docs/rag.md"
    )
    embedding_model: str | None = Field(
        None, description="vectors too: an encoder's folder or org/name, or with embedding_url a name; empty: keywords"
    )
    embedding_url: str | None = Field(
        None, pattern=r"^https?://", description="OpenAI-compatible endpoint for vectors, up to and including /v1"
    )
    embedding_api_key: str | None = Field(None, description="its key")
    embedding_prefixes: str = Field("", description="before queries and passages, as query: |passage: for e5")
    search_k: int = Field(50, ge=1, le=1000, description="documents that the first stage gives")
    search_threshold: float = Field(0.15, ge=0, le=1, description="lowest score of a passage that answers")
    search_tokens: int = Field(2000, ge=16, description="tokens of the passages of an answer at most")
    llm_url: str | None = Field(
        None, pattern=r"^https?://", description="OpenAI-compatible endpoint that writes answers, up to /v1"
    )
    llm_model: str | None = Field(None, description="name that it knows")
    llm_api_key: str | None = Field(None, description="its key")
    llm_timeout: float = Field(60.0, gt=0, description="seconds without a sign of life from it")
    llm_max_tokens: int = Field(1024, ge=1, description="tokens of an answer at most")

    host: str = Field("127.0.0.1", description="address the service listens on")
    port: int = Field(8000, ge=0, le=65535, description="port the service listens on; 0 for a free one")
    models: dict[str, str] = Field(
        default_factory=dict, description="more models to offer: name = reference, loaded when first asked for"
    )
    preload: list[str] = Field(default_factory=list, description="names in `models` to load at start")
    strict_models: bool = Field(False, description="answer 404 to unknown model names instead of using `model`")
    max_loaded_mb: int = Field(0, ge=0, description="weights in memory, in MB; the longest unused go; 0 for any")
    max_queue_seconds: float = Field(30.0, gt=0, description="time within which an accepted request is answered")
    batch_ms: float = Field(50.0, gt=0, description="computing time that one batch aims at")
    fairness: bool = Field(True, description="share the model between requests and keys; off: first come, first served")
    request_timeout: float = Field(0.0, ge=0, description="seconds a request may take if it names no time; 0 for any")
    max_body_mb: float = Field(32.0, gt=0, description="largest request body in MB")
    max_documents: int = Field(10_000, ge=1, description="documents of one request at most")
    max_inflight_mb: float = Field(1024.0, gt=0, description="request bodies held at once in MB; more get 503")
    max_json_depth: int = Field(32, ge=4, le=512, description="nesting of a request body at most")
    cache: bool = Field(True, description="keep scores of pairs; a request can say otherwise")
    cache_entries: int = Field(100_000, ge=0, description="scores kept in memory at most")
    cache_seconds: float = Field(86_400.0, gt=0, description="seconds a score is kept in Redis")
    redis_url: str | None = Field(
        None,
        pattern=r"^(rediss?|unix)://",
        description="Redis for shared scores and quotas; empty for none",
    )
    queue_url: str | None = Field(
        None, pattern=r"^(rediss?|unix)://", description="Redis for jobs and workers; empty to work jobs in process"
    )
    jobs_path: str | None = Field(
        None, description="SQLite file of jobs worked in process; empty for one in the user's state folder"
    )
    max_jobs: int = Field(10_000, ge=1, description="unfinished jobs at most")
    max_jobs_mb: float = Field(2048.0, gt=0, description="texts of unfinished jobs in MB at most")
    job_seconds: float = Field(86_400.0, gt=0, description="seconds that a finished job and its result are kept")
    job_attempts: int = Field(3, ge=1, description="times that a failing part of a job is tried")
    job_request_seconds: float = Field(
        900.0, gt=0, description="seconds that one request of a job may take before that counts as a failure"
    )
    lease_seconds: float = Field(
        30.0, ge=1, description="seconds without a sign of life after which a part of a job goes to another worker"
    )
    worker_threads: int = Field(16, ge=1, le=512, description="parts of jobs that a worker has at hand at once")
    gate_key: str | None = Field(None, description="signs the records of `rerankd gate`; 16 characters at least")
    webhook_secret: str | None = Field(None, description="signs webhooks; base64, as `rerankd jobs secret` makes it")
    webhook_hosts: list[str] = Field(
        default_factory=list, description="hosts that webhooks may go to; empty for public addresses only"
    )
    traces: bool = Field(True, description="keep every ranking with its texts, before and after; see docs/traces.md")
    traces_url: str | None = Field(
        None,
        pattern=r"^(sqlite|postgres(ql)?)://",
        description="database of traces and feedback; empty for a SQLite file in the user's state folder",
    )
    traces_seconds: float = Field(
        1.0, ge=0.01, le=60, description="seconds within which a trace is written; what a killed process loses"
    )
    traces_queue: int = Field(10_000, ge=1, description="traces that wait to be written at most; more are dropped")
    traces_queue_mb: float = Field(64.0, gt=0, description="their texts in MB at most")
    traces_sample: dict[str, float] = Field(
        default_factory=dict, description="share of rankings to trace by key id, and * for all others; empty for all"
    )
    traces_redact: list[str] = Field(
        default_factory=list, description="black out before keeping: email, phone, cn_id; none if empty"
    )
    traces_redactor: str | None = Field(
        None, description="function of your own that redacts texts, as package.module:function"
    )
    traces_days: float = Field(30.0, ge=0, description="days that a trace is kept; 0 for ever")
    traces_mb: float = Field(10_000.0, ge=0, description="size of the database in MB; the oldest traces go; 0 for any")
    feedback_hours: float = Field(24.0, ge=0, description="hours that feedback waits for a trace of its request")
    cases: bool = Field(True, description="look for bad cases among traces and feedback every minute")
    monitor_window: float = Field(3600.0, ge=60, description="seconds that the gauges of rankings look back")
    monitor_reference: float = Field(
        604_800.0, ge=60, description="seconds before that window which scores are compared with"
    )
    rollout: bool = Field(True, description="take part in experiments of the database of traces_url; off ignores them")
    rollout_seconds: float = Field(5.0, ge=0.05, le=3600, description="seconds between looks at experiments")
    api_keys: list[str] = Field(default_factory=list, description="keys in clear text, best set in the environment")
    api_keys_file: str | None = Field(None, description="file of hashed keys, made by `rerankd keys add`")
    cors_origins: list[str] = Field(default_factory=list, description="web origins that may call; none if empty")
    trusted_proxies: list[str] = Field(
        default_factory=lambda: ["127.0.0.1", "::1"],
        description="addresses and networks whose X-Forwarded-For is believed; [] for none",
    )
    drain_seconds: float = Field(0.0, ge=0, description="seconds from SIGTERM to closing the port; for proxies")
    shutdown_seconds: float = Field(60.0, gt=0, description="seconds that accepted requests get to finish at the end")
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")
    otel_endpoint: str | None = Field(None, description="OTLP/HTTP endpoint for traces; empty for none")

    @field_validator("*", mode="before")
    @classmethod
    def _text_of_lists_and_tables(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if value == "" and field.default is None:
            return None
        return _read_text(value, get_origin(field.annotation))

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"{error}; write addresses and networks, such as 10.0.0.7 and 10.1.0.0/16") from None
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are None were not given.

    Raises:
        InvalidRequestError: a value that is not allowed, or an unknown key in the file; the message names it.

    Example:
        >>> load_settings(top_n=3).top_n
        3
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidRequestError(
            f"Setting {name}: {first['msg']}.",
            hint=f"Look in {FILE_NAME}, at RERANKD_{name.upper()}, and at the flags.",
        ) from error
    except ValueError as error:  # the TOML reader's own
        raise InvalidRequestError(
            f"{Path(FILE_NAME).resolve()} is not valid TOML ({error}).", hint="Mend the file."
        ) from error


def _read_text(value: Any, kind: object) -> Any:
    """A list written with commas, a table as name=value, or either as JSON; anything else as it is."""
    if not isinstance(value, str) or kind not in (list, dict):
        return value
    if value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not valid JSON ({error})") from error
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if kind is list:
        return parts
    pairs = [part.partition("=") for part in parts]
    if not all(name.strip() and reference.strip() for name, _, reference in pairs):
        raise ValueError("write it as name=reference,name=reference")
    return {name.strip(): reference.strip() for name, _, reference in pairs}


def describe_sources() -> list[tuple[str, Any, str]]:
    """Every setting with its value and where that came from: `default`, the file's path, or the variable's name.

    Raises:
        InvalidRequestError: as `load_settings`.
    """
    settings = load_settings()
    in_file = TomlConfigSettingsSource(Settings)()
    environment = {name.upper() for name, value in os.environ.items() if value}
    rows: list[tuple[str, Any, str]] = []
    for name in Settings.model_fields:
        source = "default"
        if f"RERANKD_{name.upper()}" in environment:
            source = f"RERANKD_{name.upper()}"
        elif name in in_file:
            source = str(Path(FILE_NAME).resolve())
        rows.append((name, getattr(settings, name), source))
    return rows
