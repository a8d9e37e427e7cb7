"""Lazy exports: a package names what it offers without importing it until it is used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_exports(package: str, modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """Return a module-level `__getattr__` that imports a name's module at its first use.

    Args:
        package: `__name__` of the package.
        modules: full name of each module, with the names that it offers.

    Example:
        >>> load = lazy_exports("rerankd", {"rerankd.types": ("Document",)})
        >>> load("Document")("text").text
        'text'
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name]), name)

    return load
