"""The examples in the docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import rerankd

MODULES = [name for _, name, _ in pkgutil.walk_packages(rerankd.__path__, "rerankd.") if not name.endswith("__main__")]

# The modules of integrations import other frameworks.
SLOW = ("rerankd.integrations.", "rerankd.reranker")


def as_parameter(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow) if name.startswith(SLOW) else name


@pytest.mark.parametrize("name", [as_parameter(name) for name in MODULES])
def test_examples(name: str) -> None:
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert results.failed == 0
