"""The import graph of the project: no circles, settings in few hands, and a light `import rerankd`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import rerankd

PACKAGE = Path(rerankd.__file__).parent

SETTINGS_READERS = ("rerankd.cli", "rerankd.server", "rerankd.wiring", "rerankd.settings")
LARGE_LIBRARIES = (
    "fastapi",
    "mlflow",
    "numpy",
    "onnxruntime",
    "pydantic",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "transformers",
)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("rerankd", exclude_type_checking_imports=True, cache_dir=None)


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Return the modules that import each other, also by way of others (Tarjan 1972)."""
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[set[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in imported[module]:
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            component = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(component) > 1:
                components.append(component)

    for module in sorted(imported):
        if module not in order:
            visit(module)
    return components


def test_no_module_imports_itself_by_way_of_others(graph: grimp.ImportGraph) -> None:
    assert circles(graph) == []


def test_settings_are_read_at_the_edges_only(graph: grimp.ImportGraph) -> None:
    readers = {
        module
        for settings in (module for module in graph.modules if module.startswith("rerankd.settings"))
        for module in graph.find_modules_that_directly_import(settings)
    }
    assert {module for module in readers if not module.startswith(SETTINGS_READERS)} == set()


@pytest.mark.slow
def test_modules_imported_by_name_are_few(graph: grimp.ImportGraph) -> None:
    """The layers in pyproject.toml cover import statements; what is imported by its name is listed here."""
    by_name: set[tuple[str, str]] = set()
    for module in graph.modules - {"rerankd"}:
        file = PACKAGE.joinpath(*module.split(".")[1:])
        path = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value.partition(":")[0]
                if name in graph.modules and name.split(".")[:2] not in (module.split(".")[:2], ["rerankd"]):
                    by_name.add((module, name))
    assert by_name == {
        ("rerankd.models.sources", "rerankd.registry.source"),  # upwards
        ("rerankd.integrations.haystack", "rerankd.client"),
    }


def test_importing_the_package_loads_no_large_library() -> None:
    program = f"import sys, rerankd; print(*[name for name in {LARGE_LIBRARIES!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == []
