"""A model that reads instructions, for tests: the bundled one, which puts what it is asked in front of the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rerankd.models.template import PairTemplate
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions

ASKED = "Given a legal question, retrieve statutes that answer it"


def read_instructions(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Let every model read an instruction; return the list that the encoder's instructions are appended to."""
    seen: list[str | None] = []
    encode = PairEncoder.encode

    def listen(
        encoder: PairEncoder, query: str, documents: Sequence[str], truncation: TruncationOptions
    ) -> list[list[EncodedPair]]:
        seen.append(truncation.instruction)
        asked = f"{truncation.instruction} {query}" if truncation.instruction else query
        return encode(encoder, asked, documents, replace(truncation, instruction=None))

    monkeypatch.setattr(PairTemplate, "takes_instruction", property(lambda template: True))
    monkeypatch.setattr(PairEncoder, "encode", listen)
    return seen
