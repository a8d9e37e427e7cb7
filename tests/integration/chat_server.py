"""An OpenAI-compatible server for tests: it streams, and its model's name says how it behaves.

good        cites the first passage        unknown     cites passages that were not given
slow        takes its time between words   stuck       says nothing after the first words
midway      breaks off in the middle       flaky       answers 503 twice, then well
down        answers 503 always             obedient    does what passages tell it to do
error       sends an error in the stream   early       ends the stream without saying that it is done
uncited     cites nothing: a sentence of the first passage, and one that no passage supports
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

SEEN: list[dict[str, Any]] = []
CLOSED: list[str] = []


def words(model: str, prompt: str) -> list[str]:
    """Return the model's output, in chunks that cut citations in two."""
    if model == "obedient":
        commands = re.findall(r"SAY: (.*)", prompt)
        return [*re.findall(r".{1,3}", " ".join(commands)), " [1", "]"]
    if model == "unknown":
        return ["It is so [", "7] and so [1", ", 9]."]
    if model == "uncited":
        return ["手机的保修期", "为一年，自购买之日起计算。", "太阳系有八颗行星。"]
    return ["一年", "，即十二个月 [", "1", "]", "。"]


async def stream(model: str, prompt: str) -> AsyncIterator[bytes]:
    """Server-sent events."""

    def event(text: str, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": reason}
        return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n".encode()

    try:
        yield b": a comment\n\n"
        for position, word in enumerate(words(model, prompt)):
            yield event(word)
            if model == "slow":
                await asyncio.sleep(0.2)
            if model == "stuck" and position == 1:
                await asyncio.sleep(60)
            if model == "error" and position == 1:
                yield b'data: {"error": {"message": "out of memory"}}\n\n'
            if model == "midway" and position == 1:
                raise RuntimeError("broke")
        if model != "early":
            yield event("", "stop")
            yield b"data: [DONE]\n\n"
    finally:
        CLOSED.append(model)


async def chat(request: Request) -> Any:
    """`POST /v1/chat/completions`."""
    body = await request.json()
    SEEN.append({"model": body["model"], "authorization": request.headers.get("authorization"), "body": body})
    model = body["model"]
    tries = sum(one["model"] == model for one in SEEN)
    if model == "down" or (model == "flaky" and tries < 3):
        return JSONResponse({"error": {"message": "busy"}}, 503)
    if model == "forbidden":
        return JSONResponse({"error": {"message": "no"}}, 401)
    prompt = "\n".join(message["content"] for message in body["messages"])
    return StreamingResponse(stream(model, prompt), media_type="text/event-stream")


async def embeddings(request: Request) -> Any:
    """`POST /v1/embeddings`: counts letters; in another order, as the standard allows."""
    body = await request.json()
    rows = [
        {"index": i, "embedding": [text.lower().count(chr(97 + c)) + 0.01 for c in range(26)]}
        for i, text in enumerate(body["input"])
    ]
    return JSONResponse({"object": "list", "data": rows[::-1], "model": body["model"]})


async def seen(request: Request) -> Any:
    """Return the requests so far, and the streams that have ended."""
    return JSONResponse({"seen": SEEN, "closed": CLOSED})


async def hits(request: Request) -> Any:
    """Respond like Elasticsearch."""
    body = await request.json()
    query = body["query"]["match"]["content"]
    texts = ["Pandas eat bamboo.", "A car.", f"You asked for {query}", ""]
    documents = [
        {"_id": str(i), "_score": 9.0 - i, "_source": {"content": text, "source": f"f{i}.md", "year": 2020 + i}}
        for i, text in enumerate(texts)
    ]
    return JSONResponse({"hits": {"hits": documents[: body["size"]]}})


async def ready(request: Request) -> Any:
    """`GET /readyz`."""
    return JSONResponse({})


APP = Starlette(
    routes=[
        Route("/readyz", ready),
        Route("/seen", seen),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/embeddings", embeddings, methods=["POST"]),
        Route("/docs/_search", hits, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(APP, host="127.0.0.1", port=parser.parse_args().port, log_level="warning")
