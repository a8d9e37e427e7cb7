"""Memory does not grow with the number of requests or the variety of their lengths."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import random
import sys
from pathlib import Path
from rerankd import Reranker

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

draw = random.Random(3)
reranker = Reranker()
seen = []
repetitions = int(sys.argv[1])
for turn in range(repetitions):
    documents = ["熊猫 bamboo " * draw.randint(1, 12) for _ in range(draw.randint(1, 2))]
    if turn % 100 == 0:
        documents.append("long " * 2000)
    reranker.rank("what does a panda eat? " * draw.randint(1, 4), documents)
    if turn in (99, repetitions - 1):
        seen.append(resident())
print(*seen)
"""


@pytest.mark.soak
def test_many_requests_leave_memory_flat(repetitions: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(repetitions)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    after_100, after_all = map(float, completed.stdout.split())
    assert after_all - after_100 < 25, (
        f"{after_100:.0f} MB after 100 requests, {after_all:.0f} MB after {repetitions:,}"
    )
