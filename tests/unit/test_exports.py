"""Every package names what it offers, and every name that it offers can be imported."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import rerankd
from rerankd.errors import MissingDependencyError, RerankdError

PACKAGES = [
    "rerankd",
    *sorted(
        module.name
        for module in pkgutil.walk_packages(rerankd.__path__, "rerankd.")
        if module.ispkg and "migrations" not in module.name
    ),
]

PUBLIC_NAMES = Path(__file__).with_name("public_names.txt")
"""Names that users may import, one `package:name` a line; who adds or removes one changes this file."""


def test_public_names_change_on_purpose() -> None:
    exported = {f"{package}:{name}" for package in PACKAGES for name in importlib.import_module(package).__all__}
    expected = set(PUBLIC_NAMES.read_text(encoding="utf-8").split())
    assert not expected - exported, "no longer exported"
    assert not exported - expected, "exported and not expected"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_names_what_it_offers(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__
    names = package.__all__
    assert len(set(names)) == len(names)
    try:
        values = [getattr(package, exported) for exported in names]
    except MissingDependencyError as error:
        pytest.skip(str(error))
    for exported, value in zip(names, values, strict=True):
        # A function with the name of its module would be replaced by the module once that is imported.
        assert not isinstance(value, ModuleType), exported


def test_every_error_is_exported() -> None:
    errors = importlib.import_module("rerankd.errors")
    raised = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, RerankdError)
    }
    assert raised <= set(rerankd.__all__)


def test_the_package_lists_what_it_offers() -> None:
    assert dir(rerankd) == rerankd.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rerankd.nothing
