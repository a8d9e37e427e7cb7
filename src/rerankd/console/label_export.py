"""Downloads of what was labelled: a BEIR folder for evaluation, lines for training."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal

import orjson
from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import Request

from rerankd.console.router import ConsoleRouter, query_of
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.feedback.case_export import graded_cases, request_times, training_lines, write_beir
from rerankd.feedback.case_store import CaseFilter, count_cases
from rerankd.feedback.cases import BadCase
from rerankd.server.service import Service
from rerankd.traces.hashing import text_hash
from rerankd.traces.store import TraceStore

MAX_CASES = 5000
CHUNK = 1 << 18


class ExportQuery(BaseModel):
    """State of the cases to export."""

    state: Literal["labelled", "in_training", "fixed", "wont_fix"] = "labelled"


Write = Callable[[TraceStore, list[BadCase], IO[bytes]], int]


class LabelExports:
    """Downloads of labels."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def beir(self, request: Request, visitor: Visitor) -> Response:
        """Return a BEIR folder as a zip file."""
        return await self._download(request, visitor, _write_zip, "rerankd-labels.zip", "application/zip")

    async def training(self, request: Request, visitor: Visitor) -> Response:
        """Return training examples, one JSON object a line."""
        return await self._download(request, visitor, _write_lines, "rerankd-training.jsonl", "application/x-ndjson")

    async def _download(self, request: Request, visitor: Visitor, write: Write, name: str, kind: str) -> Response:
        self._service.check_traces()
        where = CaseFilter(visitor.tenant, query_of(request, ExportQuery).state)
        service = self._service.trace_service
        file = await service.call(lambda: _written(service.store, where, write))
        headers = {"content-disposition": f'attachment; filename="{name}"', "content-length": str(_size(file))}
        return StreamingResponse(_chunks(file), media_type=kind, headers=headers)


def _written(store: TraceStore, where: CaseFilter, write: Write) -> IO[bytes]:
    """Return a temporary file with the export; it is gone when it is closed."""
    if sum(count_cases(store, where).values()) > MAX_CASES:
        raise InvalidRequestError(
            f"There are more than {MAX_CASES:,} cases.", hint="Export them with: rerankd cases export"
        )
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed when it was sent
    if not write(store, graded_cases(store, where), file):
        file.close()
        raise NotFoundError("There is nothing to export.", hint="Label the documents of a ranking first.")
    return file


def _write_zip(store: TraceStore, cases: list[BadCase], out: IO[bytes]) -> int:
    with tempfile.TemporaryDirectory(prefix="rerankd-labels-") as name:
        folder = Path(name, "beir")
        count = write_beir(cases, folder, lambda text: text_hash(text)[:24], request_times(store, cases))
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(folder))
    return count


def _write_lines(store: TraceStore, cases: list[BadCase], out: IO[bytes]) -> int:
    lines = [orjson.dumps(line) + b"\n" for line in training_lines(cases, request_times(store, cases))]
    out.writelines(lines)
    return len(lines)


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def register(router: ConsoleRouter, service: Service) -> None:
    """Register the downloads."""
    exports = LabelExports(service)
    router.page("/label/export/beir", "label.html", exports.beir)
    router.page("/label/export/training", "label.html", exports.training)
