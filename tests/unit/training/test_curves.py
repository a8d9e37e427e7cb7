from __future__ import annotations

from xml.etree import ElementTree

import pytest

from rerankd.training.curves import learning_curves

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"step": 1, "loss": 0.0}],
        [
            {"step": 1, "loss": 2.5},
            {"step": 2, "eval_loss": 1.5},
            {"step": 3, "loss": 0.5},
            {"step": 4, "eval_loss": 1},
        ],
        [{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_loss": float("inf")}],
    ],
)
def test_curves_are_a_picture(history: list[dict[str, float]]) -> None:
    drawn = learning_curves(history)
    root = ElementTree.fromstring(drawn)  # noqa: S314  our own
    assert root.tag == f"{SVG}svg"
    drawn_lines = [path for path in root.iter(f"{SVG}path") if path.get("class") in ("training", "validation")]
    assert all("nan" not in str(line.get("d")) and "inf" not in str(line.get("d")) for line in drawn_lines)
    assert bool(drawn_lines) == bool(history)
