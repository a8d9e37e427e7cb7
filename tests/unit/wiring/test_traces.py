from __future__ import annotations

from pathlib import Path

from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import add_feedback, read_feedback
from rerankd.settings import load_settings
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.wiring.traces import _maintenance
from tests.unit.traces.rankings import ranking


def test_feedback_on_documents_that_do_not_exist_is_dropped_by_the_next_maintenance(tmp_path: Path) -> None:
    store = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    maintain = _maintenance(load_settings(), None)
    for request_id in ("first", "second"):  # also at a later run, which looks at what is new
        add_feedback(store, [FeedbackEvent(request_id, "click", index, tenant="search") for index in (0, 77)])
        store.write([build_trace(ranking(request_id=request_id))])
        assert not maintain(store)
    assert [item.feedback.index for item in read_feedback(store)] == [0, 0]
    store.close()
