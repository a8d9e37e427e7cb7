"""Sources of settings: defaults < file (rerankd.toml, or another) < RERANKD_* environment variables < flags.

The library takes arguments only; nothing is read at import time.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import tomllib
from contextvars import ContextVar
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rerankd.errors import InvalidRequestError
from rerankd.settings.checks import check_hosts, check_origins, check_url
from rerankd.settings.model_topics import (
    BatchingSettings,
    CacheSettings,
    ModelSettings,
    RankingSettings,
    ServedModelSettings,
)
from rerankd.settings.topics import (
    AccessSettings,
    ConsoleSettings,
    JobSettings,
    LoggingSettings,
    RegistrySettings,
    SearchSettings,
    ServerSettings,
    TraceSettings,
)

FILE_NAME = "rerankd.toml"
CONFIG_VARIABLE = "RERANKD_CONFIG"
URLS = (
    *("redis_url", "queue_url", "traces_url", "registry"),
    *("embedding_url", "llm_url", "milvus_url", "otel_endpoint"),
)
# Variables of the library, the client and of Kubernetes, which names variables after a service called rerankd.
_FOREIGN = re.compile(r"RERANKD_(CONFIG|NATIVE|API_KEY|(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_\w+))")
_file: ContextVar[Path] = ContextVar("settings_file")


class Settings(
    LoggingSettings,
    RegistrySettings,
    TraceSettings,
    SearchSettings,
    JobSettings,
    ConsoleSettings,
    AccessSettings,
    CacheSettings,
    BatchingSettings,
    ServedModelSettings,
    ServerSettings,
    RankingSettings,
    ModelSettings,
    BaseSettings,
):
    """All settings, in one flat namespace; the bases group them by topic, the last one first."""

    model_config = SettingsConfigDict(
        env_prefix="RERANKD_",
        toml_file=FILE_NAME,
        extra="forbid",
        env_ignore_empty=True,
        enable_decoding=False,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _parse_text(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if value == "" and field.default is None:
            return None
        return _parse_collection(value, get_origin(field.annotation))

    @field_validator("trusted_proxies")
    @classmethod
    def _check_addresses(cls, value: list[str]) -> list[str]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"{error}; write addresses and networks, such as 10.0.0.7 and 10.1.0.0/16") from None
        return value

    @field_validator(*URLS)
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        return None if value is None else check_url(value)

    @field_validator("allowed_hosts", "webhook_hosts")
    @classmethod
    def _check_hosts(cls, value: list[str], info: ValidationInfo) -> list[str]:
        return check_hosts(value, wildcards=info.field_name == "allowed_hosts")

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: list[str]) -> list[str]:
        return check_origins(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence: flags, environment, file."""
        return init_settings, env_settings, _TomlFile(settings_cls, toml_file=_file.get(Path(FILE_NAME)))


class _TomlFile(TomlConfigSettingsSource):
    """A file of settings in UTF-8, with or without the byte order mark that some editors write."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            return tomllib.loads(file_path.read_bytes().decode("utf-8-sig"))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


def settings_file(config: Path | None = None) -> Path:
    """Return the file that settings are read from: `config`, that of RERANKD_CONFIG, or `rerankd.toml`.

    Args:
        config: the file that the user names; None for none.

    Raises:
        InvalidRequestError: a file that is named does not exist or cannot be read.

    Example:
        >>> settings_file().name
        'rerankd.toml'
    """
    named = config or (Path(value) if (value := os.environ.get(CONFIG_VARIABLE)) else None)
    if named is None:
        return Path(FILE_NAME)
    if not named.is_file() or not os.access(named, os.R_OK):
        raise InvalidRequestError(
            f"The file of settings {named} does not exist or cannot be read.",
            hint=f"Check --config and the variable {CONFIG_VARIABLE}.",
        )
    return named


def unknown_variables() -> list[tuple[str, str]]:
    """Return the RERANKD_* environment variables that name no setting, each with the one it may mean, or with "".

    Example:
        >>> os.environ["RERANKD_TOPN"] = "5"
        >>> unknown_variables()
        [('RERANKD_TOPN', 'RERANKD_TOP_N')]
        >>> del os.environ["RERANKD_TOPN"]
    """
    known = {f"RERANKD_{name.upper()}" for name in Settings.model_fields}
    unknown = [
        name
        for name in sorted(os.environ)
        if name.upper().startswith("RERANKD_") and name.upper() not in known and not _FOREIGN.fullmatch(name.upper())
    ]
    return [(name, next(iter(difflib.get_close_matches(name.upper(), known, 1, 0.8)), "")) for name in unknown]


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Read the settings.

    Args:
        config: file to read instead of that of RERANKD_CONFIG or `rerankd.toml`.
        flags: settings given on the command line; None means not given.

    Raises:
        InvalidRequestError: an invalid value, an unknown key in the file, or no such file; the message names it.

    Example:
        >>> load_settings(top_n=3).top_n
        3
    """
    path = settings_file(config)
    token = _file.set(path)
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise _invalid(error, path) from error
    except ValueError as error:  # raised by the TOML parser
        raise InvalidRequestError(f"{path.resolve()} is not valid TOML ({error}).", hint="Correct the file.") from error
    finally:
        _file.reset(token)


def _invalid(error: ValidationError, path: Path) -> InvalidRequestError:
    """Return the error for the first fault of the settings."""
    fault = error.errors()[0]
    setting = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(setting, Settings.model_fields, 1, 0.7)
        is_section = isinstance(fault["input"], dict) and not similar
        advice = f"Did you mean {similar[0]}? " if similar else ""
        advice += "Settings stand in no section. " if is_section else ""
        return InvalidRequestError(f"Setting {setting} does not exist.", hint=f"{advice}Check {path.name}.")
    name = ".".join(str(part) for part in fault["loc"])
    flag = f"--{setting.replace('_', '-')}"
    return InvalidRequestError(
        f"Setting {name}: {fault['msg'].removeprefix('Value error, ')}.",
        hint=f"Check {path.name}, the variable RERANKD_{setting.upper()}, and the flag {flag}.",
    )


def _parse_collection(value: Any, kind: object) -> Any:
    """Parse a list written with commas, a table written as name=value, or either as JSON; return other values as is."""
    if not isinstance(value, str) or kind not in (list, dict):
        return value
    if value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not valid JSON ({error})") from error
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if kind is list:
        return parts
    pairs = [part.partition("=") for part in parts]
    if not all(name.strip() and reference.strip() for name, _, reference in pairs):
        raise ValueError("write it as name=reference,name=reference")
    return {name.strip(): reference.strip() for name, _, reference in pairs}


def describe_sources(config: Path | None = None) -> list[tuple[str, Any, str]]:
    """Return every setting with its value and its source.

    Args:
        config: file to read, as for `load_settings`.

    Returns:
        Rows of name, value, and `default`, the path of the file, or the name of the environment variable.

    Raises:
        InvalidRequestError: as `load_settings`.
    """
    settings, path = load_settings(config), settings_file(config)
    in_file = _TomlFile(Settings, toml_file=path)()
    environment = {name.upper() for name, value in os.environ.items() if value}
    rows: list[tuple[str, Any, str]] = []
    for name in Settings.model_fields:
        source = "default"
        if f"RERANKD_{name.upper()}" in environment:
            source = f"RERANKD_{name.upper()}"
        elif name in in_file:
            source = str(path.resolve())
        rows.append((name, getattr(settings, name), source))
    return rows
