from __future__ import annotations

import pytest

from rerankd._common.lazy import lazy_exports
from rerankd.types import Document


def test_a_name_is_imported_when_it_is_used() -> None:
    load = lazy_exports("rerankd", {"rerankd.types": ("Document",)})
    assert load("Document") is Document


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rerankd' has no attribute 'Nothing'"):
        lazy_exports("rerankd", {})("Nothing")
