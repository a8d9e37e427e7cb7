from __future__ import annotations

import logging

import pytest

from rerankd._common.logging import StepTimer, logger


def test_timer_adds_up_also_when_a_step_fails() -> None:
    timer = StepTimer()
    with timer.step("a"):
        pass
    first = timer.milliseconds["a"]
    with pytest.raises(RuntimeError), timer.step("a"):
        raise RuntimeError
    assert timer.milliseconds["a"] > first


def test_root_logger_is_left_alone() -> None:
    before = list(logging.getLogger().handlers)
    assert logger("rerankd.models").name == "rerankd.models"
    assert logging.getLogger().handlers == before
