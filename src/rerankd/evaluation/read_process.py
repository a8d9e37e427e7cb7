"""Datasets read in a process of its own, so that a service that reads a large one goes on answering meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from rerankd.errors import InvalidInputFileError, RerankdError
from rerankd.evaluation.dataset import Dataset, DatasetOptions, open_dataset
from rerankd.evaluation.folders import text_file

LARGE_BYTES = 2_000_000
NICENESS = 10


def read_dataset(folder: Path, options: DatasetOptions) -> Dataset:
    """Read a dataset as `open_dataset` does; one with a large corpus in a process of its own, at a low priority.

    Args:
        folder: BEIR folder.
        options: selection of the data, without a search function.

    Raises:
        RerankdError: as `open_dataset`, or the process was killed.
    """
    corpus = text_file(folder, "corpus")
    if corpus is None or corpus.stat().st_size < LARGE_BYTES:
        return open_dataset(folder, options)
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    # A daemon: it ends with this process, whoever waits for it.
    process = context.Process(target=_send_dataset, args=(sender, folder, options), daemon=True)
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        raise InvalidInputFileError(
            f"The process that read {folder.name[:100]} ended early.", hint="It may be too large for the memory."
        ) from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(outcome, Dataset):
        return outcome
    raise outcome


def _send_dataset(sender: Connection, folder: Path, options: DatasetOptions) -> None:
    with suppress(OSError, AttributeError):  # there is no such call on Windows
        os.nice(NICENESS)
    try:
        sender.send(open_dataset(folder, options))
    except RerankdError as error:
        sender.send(error)
