"""API keys, quotas and usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.server.auth.key_file import read_keys, write_keys
    from rerankd.server.auth.key_ring import KeyRing
    from rerankd.server.auth.keys import ApiKey, new_key, presented_key
    from rerankd.server.auth.quotas import MemoryQuotas, Quotas, QuotaStore
    from rerankd.server.auth.redis_quotas import RedisQuotas
    from rerankd.server.auth.usage import UsageMeter

__all__ = [
    "ApiKey",
    "KeyRing",
    "MemoryQuotas",
    "QuotaStore",
    "Quotas",
    "RedisQuotas",
    "UsageMeter",
    "new_key",
    "presented_key",
    "read_keys",
    "write_keys",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.server.auth.key_file": ("read_keys", "write_keys"),
        "rerankd.server.auth.key_ring": ("KeyRing",),
        "rerankd.server.auth.keys": ("ApiKey", "new_key", "presented_key"),
        "rerankd.server.auth.quotas": ("MemoryQuotas", "QuotaStore", "Quotas"),
        "rerankd.server.auth.redis_quotas": ("RedisQuotas",),
        "rerankd.server.auth.usage": ("UsageMeter",),
    },
)
