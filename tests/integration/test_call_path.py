"""The call path of a request stays short enough to be read."""

from __future__ import annotations

import pytest

from rerankd.experiments.experiment import CHALLENGER, CHAMPION
from tests.call_path import record

MAX_FUNCTIONS = 20
MAX_FILES = 14


@pytest.mark.parametrize("variant", [None, CHAMPION, CHALLENGER])
async def test_a_ranking_passes_few_functions_and_files(variant: str | None) -> None:
    path = await record(variant)
    assert path.event_loop[0].name == "RequestMiddleware.__call__", str(path)
    assert path.encoding[0].file.startswith("engine/"), str(path)
    assert path.inference[0].file.startswith("engine/"), str(path)
    assert (path.worker or path.inference)[-1].file.startswith("scoring/"), str(path)
    assert len(path.functions) <= MAX_FUNCTIONS, str(path)
    assert len(path.files) <= MAX_FILES, str(path)
