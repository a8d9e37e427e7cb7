"""Output files of a bulk run while it is written.

    OUT.part          output lines written so far
    OUT.failed.jsonl  rows without a score; kept if there are any
    OUT.journal       checkpoint: the lengths of both files, and the fingerprint of the run
    OUT.lock          lock file, held while a run is writing

Lines are synced to the disk before the checkpoint counts them; on resuming, bytes that it does not count are cut off.
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
        """Output lines written so far."""
        return self._beside("part")

    @property
    def failed(self) -> Path:
        """Rows without a score."""
        return self._beside("failed.jsonl")

    @property
    def journal(self) -> Path:
        """Checkpoint file of the run."""
        return self._beside("journal")

    @property
    def lock(self) -> Path:
        """Lock file, held while a run writes."""
        return self._beside("lock")

    def _beside(self, ending: str) -> Path:
        return self.out.with_name(f"{self.out.name}.{ending}")


class RunOutput:
    """Output of a run, new or resumed from its checkpoint.

    Args:
        paths: files of the run.
        fingerprint: everything that the output depends on.
        restart: discard what an earlier run left.
        matches_prefix: returns True if the input before an offset is unchanged since the offset was read.
        clock: monotonic seconds.

    Raises:
        InvalidRequestError: the output exists already, or was begun from another input or with other options.
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
        self._saved_at = -float("inf")
        if restart:
            files.remove(paths.journal)
            files.remove(paths.part)
        checkpoint = RunCheckpoint.read(paths.journal)
        if checkpoint is None:
            self._check_free(restart)
            checkpoint = RunCheckpoint(fingerprint)
            checkpoint.write(paths.journal)
        elif (changed := differences(checkpoint.fingerprint, fingerprint)) and not (
            set(changed) <= set(INPUT) and not checkpoint.finished and matches_prefix(checkpoint.position)
        ):
            raise _other_run(paths, changed)
        self.checkpoint = dataclasses.replace(checkpoint, fingerprint=fingerprint)
        self._committed = self._saved = self.checkpoint
        # A finished run without its part file was stopped between the renaming and the removal of the checkpoint.
        self.complete = checkpoint.finished and not paths.part.exists() and paths.out.exists()
        if not self.complete:
            if checkpoint.bytes and not paths.part.exists():
                raise InvalidRequestError(f"{paths.part} is missing.", hint="Start over with --restart.")
            self._part = files.AppendFile(paths.part, checkpoint.bytes)
            self._failed = files.AppendFile(paths.failed, checkpoint.failed_bytes)

    def append(self, batch: Batch, result: ChunkResult, formatted: FormattedChunk) -> None:
        """Write the lines of a chunk."""
        self._part.append(formatted.lines)
        if formatted.failed:
            self._failed.append(formatted.failed)
        before = self.checkpoint
        self.checkpoint = dataclasses.replace(
            before,
            position=batch.after,
            chunks=before.chunks + 1,
            bytes=before.bytes + len(formatted.lines),
            failed_bytes=before.failed_bytes + len(formatted.failed),
            pairs=before.pairs + formatted.pairs,
            unscored=before.unscored + formatted.unscored,
            tokens=before.tokens + result.tokens,
            truncated=before.truncated + result.truncated,
        )

    def commit(self, *, save_now: bool = False) -> None:
        """Make this the state to resume from; it is saved at once, or if the last save is a second ago."""
        self._committed = self.checkpoint
        if save_now or self._clock() - self._saved_at >= CHECKPOINT_SECONDS:
            self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Sync the output to the disk, and save the committed state."""
        if self._committed is self._saved:
            return
        self._part.sync()
        self._failed.sync()
        self._committed.write(self._paths.journal)
        self._saved, self._saved_at = self._committed, self._clock()
        _log.info("checkpoint saved: %d rows", self._saved.position.rows)

    def finish(self, kind: RowKind, out_format: str) -> None:
        """Give the output its final name, and remove the files that were needed to resume."""
        if not self.complete:
            self.checkpoint = dataclasses.replace(self.checkpoint, finished=True)
            self.commit(save_now=True)
            self.close()
            if out_format == "parquet":
                from rerankd.jobs.bulk.parquet_writer import write_parquet

                write_parquet(self._paths.part, self._paths.out, kind)
                files.remove(self._paths.part)
            else:
                files.rename(self._paths.part, self._paths.out)
        _log.info("output complete: %s", self._paths.out)
        if not self.checkpoint.unscored:
            files.remove(self._paths.failed)
        files.remove(self._paths.journal)

    def close(self) -> None:
        """Close the files."""
        if not self.complete:
            self._part.close()
            self._failed.close()

    def _check_free(self, restart: bool) -> None:
        paths = self._paths
        if not restart and (existing := next((path for path in (paths.out, paths.part) if path.exists()), None)):
            raise InvalidRequestError(
                f"{existing} exists already.", hint="Use another --out, or replace it with --restart."
            )
        if paths.out.is_dir():
            raise InvalidRequestError(f"{paths.out} is a folder.", hint="Name a file with --out.")


def _other_run(paths: OutputPaths, changed: list[str]) -> InvalidRequestError:
    names = dict.fromkeys("input" if name in INPUT else name for name in changed)
    return InvalidRequestError(
        f"{paths.part} was started with a different {' and a different '.join(names)}.",
        hint="Run the same command as the first time, or start over with --restart.",
    )
