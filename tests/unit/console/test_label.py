from __future__ import annotations

from urllib.parse import quote

import pytest
from starlette.requests import Request

from rerankd.console.label_ranking import RankingQuery, _next_path, _parameters
from rerankd.console.label_view import LabelTarget
from rerankd.console.labeller import COOKIE, labeller_of, require_labeller
from rerankd.console.messages import messages
from rerankd.console.visitor import Visitor
from rerankd.errors import InvalidRequestError
from rerankd.feedback.cases import STATES
from rerankd.feedback.detectors import DETECTORS
from rerankd.feedback.label_queue import QUEUES
from rerankd.feedback.labels import GRADES
from rerankd.server.auth.keys import new_key


@pytest.mark.parametrize(
    "name",
    [
        *(f"detector_{name}" for name in DETECTORS),
        *(f"state_{name}" for name in STATES),
        *(f"grade_{grade}" for grade in GRADES),
        *(f"queue_{name}" for name in QUEUES),
        *(f"labeller_{side}" for side in ("first", "second")),
    ],
)
def test_every_choice_has_a_message(name: str) -> None:
    assert f"label.{name}" in messages()


def request(cookie: str = "") -> Request:
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())] if cookie else []
    return Request({"type": "http", "headers": headers})


def test_a_visitor_without_a_key_labels_under_the_name_they_typed() -> None:
    visitor = Visitor(None, "en", "")
    assert labeller_of(request(quote("李伟")), visitor) == "李伟"
    assert labeller_of(request(), visitor) == ""
    assert labeller_of(request("%00"), visitor) == ""
    assert labeller_of(request("a" * 5000), visitor) == ""
    with pytest.raises(InvalidRequestError, match="whose label"):
        require_labeller(request(), visitor)


def test_a_key_labels_under_its_own_name_whatever_the_cookie_says() -> None:
    _, key = new_key("search team")
    assert require_labeller(request("boss"), Visitor(key, "en", "")) == f"search team ({key.id})"


def test_the_next_ranking_comes_after_this_one_in_the_same_queue() -> None:
    second = RankingQuery(queue="second", shown=100)
    assert _next_path(LabelTarget("case", 7), second) == "/console/label/next?queue=second&after_case=7"
    assert _next_path(LabelTarget("trace", 7), RankingQuery()) == "/console/label/next?queue=new&after_trace=7"
    assert _parameters(second) == "?queue=second&shown=100"
    assert _parameters(RankingQuery()) == ""
