"""Record what the program answers on fixed inputs: `python -m tests.recorded.record [NAME ...]`.

A recording is made once, by the version whose behaviour counts. Where a change of behaviour is wanted, say so in
`ACCEPTED` of `tests/e2e/test_recorded.py`, with the reason, and leave the recordings alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rerankd
from tests.recorded import bulk, commands, library, service, stores
from tests.recorded.inputs import DOCUMENTS, FIXTURES, LONG
from tests.recorded.program import PACKAGE
from tests.recorded.rules import OF_FILES, RULES, masked

RECORDINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "library": library.record,
    "service": service.record,
    "commands": commands.record,
    "bulk": bulk.record,
    "stores": stores.record,
}
REPLACED = {
    rerankd.__version__: "<version>",
    str(PACKAGE): "<package>",
    str(FIXTURES): "<fixtures>",
    LONG: "<long>",
    **{text: f"<document {number}>" for number, text in enumerate(DOCUMENTS) if text},
}


def recorded(name: str, folder: Path) -> dict[str, Any]:
    """Run a recording in an empty folder; return it without what differs from run to run."""
    recording = json.loads(json.dumps(RECORDINGS[name](folder)))
    rules = OF_FILES if name == "stores" else RULES
    kept: dict[str, Any] = masked(recording, REPLACED | {str(folder): "<folder>"}, rules)
    return kept


def pretty(value: Any, indent: str = "") -> str:
    """JSON for people: what fits on a line stands on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) <= 120 or not isinstance(value, dict | list) or not value:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        items = [f"{json.dumps(name, ensure_ascii=False)}: {pretty(item, inner)}" for name, item in value.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + pretty(item, inner) for item in value) + f"\n{indent}]"


def read(name: str) -> dict[str, Any]:
    """Return a recording that is kept."""
    kept: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return kept


def main(names: list[str]) -> None:
    """Make recordings anew; without names all, and the archive of databases too."""
    with tempfile.TemporaryDirectory(prefix="recorded-") as work:
        for name in names or list(RECORDINGS):
            folder = Path(work, name).resolve()
            folder.mkdir()
            if name == "stores" and not names:
                stores.pack(Path(work, "kept"))
            text = pretty(recorded(name, folder))
            (FIXTURES / f"{name}.json").write_text(text + "\n", encoding="utf-8")
            if name in stores.KEPT:
                stores.keep(name, folder, Path(work, "kept"))


if __name__ == "__main__":
    main(sys.argv[1:])
