"""The output of a run while it grows, and the journal beside it.

    OUT.part          lines of the rows that were written
    OUT.failed.jsonl  the rows without a score; stays, if there are any
    OUT.journal       how far both are, and what they are a function of
    OUT.lock          held while a run is writing

Lines reach the disk before the journal speaks of them; what is behind the journal's lengths is cut off on resuming.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rerankd._common.logging import logger
from rerankd.errors import InvalidRequestError
from rerankd.jobs.bulk import files
from rerankd.jobs.bulk.batches import Batch
from rerankd.jobs.bulk.checkpoint import INPUT, RunCheckpoint, RunFingerprint, differences
from rerankd.jobs.bulk.chunk import ChunkResult
from rerankd.jobs.bulk.formatting import FormattedChunk
from rerankd.jobs.bulk.reader import Offset
from rerankd.jobs.bulk.rows import RowKind

_log = logger(__name__)
CHECKPOINT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Names of the files of a run."""

    out: Path

    @property
    def part(self) -> Path:
        """The lines so far."""
        return self._beside("part")

    @property
    def failed(self) -> Path:
        """The rows without a score."""
        return self._beside("failed.jsonl")

    @property
    def journal(self) -> Path:
        """Checkpoint of the run."""
        return self._beside("journal")

    @property
    def lock(self) -> Path:
        """Lock file, held while a run writes."""
        return self._beside("lock")

    def _beside(self, ending: str) -> Path:
        return self.out.with_name(f"{self.out.name}.{ending}")


class RunOutput:
    """Opens or goes on with the output of a run.

    Args:
        paths: its files.
        fingerprint: what the output is a function of.
        restart: drop what an earlier run left.
        matches_prefix: whether the input before a place is what it was when the place was noted.
        clock: monotonic seconds.

    Raises:
        InvalidRequestError: the output is there already, or was begun from another input or with other options.
    """

    def __init__(
        self,
        paths: OutputPaths,
        fingerprint: RunFingerprint,
        *,
        restart: bool,
        matches_prefix: Callable[[Offset], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths, self._clock = paths, clock
        self._checked = -float("inf")
        if restart:
            files.remove(paths.journal)
            files.remove(paths.part)
        begun = RunCheckpoint.read(paths.journal)
        if begun is None:
            self._check_free(restart)
            begun = RunCheckpoint(fingerprint)
            begun.write(paths.journal)
        elif (changed := differences(begun.fingerprint, fingerprint)) and not (
            set(changed) <= set(INPUT) and not begun.finished and matches_prefix(begun.position)
        ):
            raise _other_run(paths, changed)
        self.journal = dataclasses.replace(begun, fingerprint=fingerprint)
        self._settled = self._noted = self.journal
        # A finished output without its lines was given its name already.
        self.complete = begun.finished and not paths.part.exists() and paths.out.exists()
        if not self.complete:
            if begun.bytes and not paths.part.exists():
                raise InvalidRequestError(f"{paths.part} is gone.", hint="Start over with --restart.")
            self._part = files.AppendFile(paths.part, begun.bytes)
            self._failed = files.AppendFile(paths.failed, begun.failed_bytes)

    def append(self, batch: Batch, result: ChunkResult, answer: FormattedChunk) -> None:
        """Write a chunk's lines."""
        self._part.append(answer.lines)
        if answer.failed:
            self._failed.append(answer.failed)
        before = self.journal
        self.journal = dataclasses.replace(
            before,
            position=batch.after,
            chunks=before.chunks + 1,
            bytes=before.bytes + len(answer.lines),
            failed_bytes=before.failed_bytes + len(answer.failed),
            pairs=before.pairs + answer.pairs,
            unscored=before.unscored + answer.unscored,
            tokens=before.tokens + result.tokens,
            truncated=before.truncated + result.truncated,
        )

    def settle(self, *, now: bool = False) -> None:
        """Go on from here if the run ends; written down at once, or if a second has gone by since the last time."""
        self._settled = self.journal
        if now or self._clock() - self._checked >= CHECKPOINT_SECONDS:
            self.note()

    def note(self) -> None:
        """Write down where the run is gone on from."""
        if self._settled is self._noted:
            return
        self._part.sync()
        self._failed.sync()
        self._settled.write(self._paths.journal)
        self._noted, self._checked = self._settled, self._clock()
        _log.info("written down: %d rows", self._noted.position.rows)

    def finish(self, kind: RowKind, out_format: str) -> None:
        """Give the output its name, and remove what was needed to resume."""
        if not self.complete:
            self.journal = dataclasses.replace(self.journal, finished=True)
            self.settle(now=True)
            self.close()
            if out_format == "parquet":
                from rerankd.jobs.bulk.parquet_writer import write_parquet

                write_parquet(self._paths.part, self._paths.out, kind)
                files.remove(self._paths.part)
            else:
                files.rename(self._paths.part, self._paths.out)
        _log.info("named: %s", self._paths.out)
        if not self.journal.unscored:
            files.remove(self._paths.failed)
        files.remove(self._paths.journal)

    def close(self) -> None:
        """Close the files."""
        if not self.complete:
            self._part.close()
            self._failed.close()

    def _check_free(self, restart: bool) -> None:
        paths = self._paths
        if not restart and (taken := next((path for path in (paths.out, paths.part) if path.exists()), None)):
            raise InvalidRequestError(
                f"{taken} is there already.", hint="Use another --out, or write it anew with --restart."
            )
        if paths.out.is_dir():
            raise InvalidRequestError(f"{paths.out} is a folder.", hint="Name a file with --out.")


def _other_run(paths: OutputPaths, changed: list[str]) -> InvalidRequestError:
    names = dict.fromkeys("input" if name in INPUT else name for name in changed)
    return InvalidRequestError(
        f"{paths.part} was begun with another {' and another '.join(names)}.",
        hint="Run the command with what it was begun with, or start over with --restart.",
    )
