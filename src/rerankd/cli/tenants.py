"""Tenants on the command line: by the id of their key, or by its name."""

from __future__ import annotations

import re
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


def erasure_target(
    tenant: str | None, document: str | None, text_hash: str | None, *, without_key: bool
) -> tuple[str | None, str]:
    """Return the tenant whose data are to be erased, and what is to be erased, in words.

    Args:
        tenant: id of a key; None for none.
        document: id of a document; None for all of the tenant's data.
        text_hash: SHA-256 of a text, in hexadecimal; None for none.
        without_key: True for requests that were sent without a key.

    Raises:
        InvalidRequestError: nothing is named, or too much, or it is empty.
    """
    if "" in (tenant, document, text_hash):  # perhaps a variable of the shell that is not set
        raise InvalidRequestError(
            "What to erase is empty.", hint="Name it, or use --without-key for requests that were sent without a key."
        )
    if without_key and tenant is not None:
        raise InvalidRequestError("Both a key and no key are named.", hint="Use --tenant or --without-key.")
    tenant = "" if without_key else tenant
    if (text_hash is None) == (tenant is None and document is None):
        raise InvalidRequestError(
            "Nothing to erase is named.", hint="Use --tenant, --without-key, --document or --text-hash."
        )
    if text_hash is not None and not re.fullmatch("[0-9a-fA-F]{64}", text_hash):
        raise InvalidRequestError(f"{text_hash[:80]!r} is not a SHA-256.", hint="Write 64 hexadecimal digits.")
    of_tenant = "" if tenant is None else f" of key {tenant!r}" if tenant else " of requests without a key"
    what = f"text {text_hash}" if text_hash else f"document {document!r}" if document else "data"
    return tenant, f"{what}{of_tenant}"
