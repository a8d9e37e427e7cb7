from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError
from rerankd.traces.redaction import SLICE, build_redactor, valid_cn_id

ALL = build_redactor(["email", "phone", "cn_id"])


def redact(text: str) -> str:
    assert ALL is not None
    return ALL(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("write to ann.lee+x@mail.example.co.uk, please", "write to [email], please"),
        ("联系邮箱zhang@example.com或电话", "联系邮箱[email]或电话"),
        ("电话13812345678转人工", "电话[phone]转人工"),
        ("拨打+86 138-1234-5678", "拨打[phone]"),
        ("座机 010-62345678", "座机 [phone]"),
        ("call (415) 555-0132 now", "call [phone] now"),
        ("call +44 20 7946 0958", "call [phone]"),
        ("身份证11010519491231002X号", "身份证[cn_id]号"),
        ("id 11010519491231002x", "id [cn_id]"),
    ],
)
def test_what_is_blacked_out(text: str, kept: str) -> None:
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "in 2024-2025, 3.14159265358979",
        "110105194912310021",
        "order 1234567890123456789012",
        "a@b",
        "v1.2.3",
        "1 + 1 = 2",
    ],
)
def test_what_stays(text: str) -> None:
    assert redact(text) == text


NAME = st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,20}[a-z0-9]", fullmatch=True)
HOST = st.from_regex(r"[a-z0-9]{1,12}(\.[a-z0-9]{1,8}){0,2}\.[a-z]{2,6}", fullmatch=True)
AROUND = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=8)


@given(AROUND, NAME, HOST, AROUND)
def test_no_address_stays_among_chinese(before: str, name: str, host: str, after: str) -> None:
    assert redact(f"{before}{name}@{host}{after}") == f"{before}[email]{after}"


@given(AROUND, st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True), AROUND)
def test_no_mobile_number_stays(before: str, number: str, after: str) -> None:
    assert redact(f"{before}{number}{after}") == f"{before}[phone]{after}"


@given(st.from_regex(r"[1-9][0-9]{16}", fullmatch=True))
def test_exactly_one_of_eleven_check_digits_is_right(body: str) -> None:
    valid = [digit for digit in "0123456789X" if valid_cn_id(body + digit)]
    assert len(valid) == 1
    assert redact(f"证{body}{valid[0]}号") == "证[cn_id]号"


@given(st.text())
def test_any_text_passes_and_twice_is_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_kinds_and_functions_of_ones_own() -> None:
    assert build_redactor([]) is None
    own_redactor = build_redactor([], "tests.unit.traces.test_redaction:_shout")
    assert own_redactor is not None
    assert own_redactor("quiet") == "QUIET"
    with pytest.raises(InvalidRequestError, match="an unknown kind, 'fax'. Use any of: cn_id, email, phone"):
        build_redactor(["fax"])
    for wrong in ("nothing", "no.such:thing", "math:pi"):
        with pytest.raises(InvalidRequestError, match="traces_redactor"):
            build_redactor([], wrong)


def _shout(text: str) -> str:
    return text.upper()


HOSTILE = ["+1111", "+1 1", "1" * 40, "+", "(0", "0(", "a@", "a.", "@a.", "a-", "1X", "+8613", "１"]


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_grows_with_the_length_of_the_text_only(unit: str) -> None:
    short, long = (unit * (size // len(unit)) for size in (20_000, 80_000))

    def cost(text: str) -> float:
        def once() -> float:
            began = time.thread_time()
            redact(text)
            return time.thread_time() - began

        return min(once() for _ in range(3))

    assert cost(long) < 0.4  # hours with a pattern that is not linear
    assert cost(long) < 12 * cost(short) + 0.01


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        ("ann@example.com", "[email]"),
        ("+44 20 7946 0958", "[phone]"),
        ("13812345678", "[phone]"),
        ("11010519491231002X", "[cn_id]"),
    ],
)
@pytest.mark.parametrize("shift", [-20, -12, -5, -1, 0, 1])
def test_a_match_may_cross_the_end_of_a_slice(item: str, kept: str, shift: int) -> None:
    before, after = "字" * (SLICE + shift), "字" * SLICE
    assert redact(f"{before}{item}{after}{item}") == f"{before}{kept}{after}{kept}"


def test_the_context_of_a_slice_counts() -> None:
    for digits in (SLICE - 3, SLICE, SLICE + 5):  # a number within a number is none
        text = f"{'9' * digits}13812345678"
        assert redact(text) == text


def test_other_threads_run_while_a_long_text_is_searched() -> None:
    text = "+1111" * 400_000
    worker = threading.Thread(target=redact, args=(text,))
    worker.start()
    pauses, last = [], time.perf_counter()
    while worker.is_alive():
        time.sleep(0)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now
    worker.join()
    # With the interpreter's lock held throughout, one pause would be nearly all of the time on any machine.
    assert max(pauses) < sum(pauses) / 3
