from __future__ import annotations

import pytest

from rerankd._common.timing import StepTimer


def test_timer_adds_up_also_when_a_step_fails() -> None:
    timer = StepTimer()
    with timer.step("a"):
        pass
    first = timer.milliseconds["a"]
    with pytest.raises(RuntimeError), timer.step("a"):
        raise RuntimeError
    assert timer.milliseconds["a"] > first
