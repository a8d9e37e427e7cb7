"""Settings of programs (command line, later the service): defaults < rerankd.toml < RERANKD_* < flags.

The library takes arguments only; nothing is read at import time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rerankd.errors import InvalidRequestError
from rerankd.types import LongDocuments, Precision, Truncation

FILE_NAME = "rerankd.toml"


class Settings(BaseSettings):
    """Every setting with its default and its meaning."""

    model_config = SettingsConfigDict(env_prefix="RERANKD_", toml_file=FILE_NAME, extra="forbid", env_ignore_empty=True)

    model: str = Field("mini", description="bundled model, folder, or org/name[@revision]")
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
    cache_dir: str | None = Field(None, description="the hub's cache folder; empty for its default")

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
