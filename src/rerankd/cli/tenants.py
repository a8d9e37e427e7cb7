"""Tenants on the command line: by the id of their key, or by its name."""

from __future__ import annotations

from pathlib import Path

from rerankd.errors import InvalidRequestError
from rerankd.settings import load_settings


def resolve_tenant(tenant: str | None) -> str | None:
    """Return the id under which a tenant's data are stored; a text that no key has is taken as an id.

    Args:
        tenant: id or name of a key; empty for requests without a key, None for all tenants.

    Raises:
        InvalidRequestError: several tenants have that name.
        InvalidInputFileError: the key file of the settings cannot be read.
    """
    if not tenant:
        return tenant
    from rerankd.server.auth.key_file import read_keys

    file = load_settings().api_keys_file
    keys = read_keys(Path(file)) if file else []
    named = {key.tenant_id for key in keys if tenant in (key.id, key.name)}
    if len(named) > 1:
        raise InvalidRequestError(
            f"Several keys are called {tenant!r}: {', '.join(sorted(named))}.", hint="Give the id of one of them."
        )
    return named.pop() if named else tenant
