from __future__ import annotations

import logging

from rerankd._common.logging import logger


def test_root_logger_is_left_alone() -> None:
    before = list(logging.getLogger().handlers)
    assert logger("rerankd.models").name == "rerankd.models"
    assert logging.getLogger().handlers == before
