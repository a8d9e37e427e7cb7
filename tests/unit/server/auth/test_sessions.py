"""Session cookies: signed, expiring, and ended with their key."""

from __future__ import annotations

import pytest

from rerankd.server.auth.key_ring import KeyRing
from rerankd.server.auth.sessions import SessionSigner

RING = KeyRing(["rk-first", "rk-second"], None)


def test_a_session_names_its_key() -> None:
    signer, key = SessionSigner("a secret of many characters"), RING.find("rk-first")
    found = signer.read(signer.issue(key), RING)
    assert found is not None
    assert found[1] == key
    assert len(found[0].csrf_token) >= 32


def test_instances_with_the_same_secret_read_each_other() -> None:
    cookie = SessionSigner("a secret of many characters").issue(RING.find("rk-first"))
    assert SessionSigner("a secret of many characters").read(cookie, RING) is not None
    assert SessionSigner("another secret, as long").read(cookie, RING) is None
    assert SessionSigner(None).read(cookie, RING) is None


@pytest.mark.parametrize("ring", [KeyRing(["rk-second"], None), KeyRing([], None)], ids=["removed", "no keys"])
def test_a_session_ends_with_its_key(ring: KeyRing) -> None:
    signer = SessionSigner(None)
    assert signer.read(signer.issue(RING.find("rk-first")), ring) is None


def test_a_session_without_a_key_is_none_where_keys_are_required() -> None:
    signer = SessionSigner(None)
    assert signer.read(signer.issue(None), RING) is None
    assert signer.read(signer.issue(None), KeyRing([], None)) is not None


def test_a_changed_or_old_cookie_is_refused() -> None:
    signer = SessionSigner(None)
    cookie = signer.issue(RING.find("rk-first"))
    for place in (0, len(cookie) // 2, len(cookie) - 2):  # the last character has bits that mean nothing
        changed = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        assert signer.read(changed, RING) is None
    assert SessionSigner(None, -1).read(SessionSigner(None, -1).issue(None), KeyRing([], None)) is None
