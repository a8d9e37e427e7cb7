"""Truncation of a reranker's calls: the reranker's own, changed by what a call asks for."""

from __future__ import annotations

import warnings
from dataclasses import replace

from rerankd._common.instruction import IGNORED, check_instruction
from rerankd._common.validation import check_max_length
from rerankd.models.files import ModelFiles
from rerankd.scoring.encoder import TruncationOptions


class TruncationDefaults:
    """Truncation options of a reranker, with its instruction.

    An instruction that the model does not read is left out; the first one is answered with a `UserWarning`.

    Args:
        files: files of the model.
        options: options of calls that ask for nothing else.
        instruction: instruction of calls that pass none; None for the model's own.

    Raises:
        InvalidRequestError: the instruction is not a string, or too long.
    """

    def __init__(self, files: ModelFiles, options: TruncationOptions, instruction: str | None) -> None:
        self._files = files
        self._ignored, self._warned = False, False
        self.options = options
        self.options = self.changed(None, instruction, stacklevel=4)
        self._ignored = self.ignores(instruction)

    def changed(self, max_length: int | None, instruction: str | None, *, stacklevel: int = 3) -> TruncationOptions:
        """Return the options of a call.

        Args:
            max_length: longest pair in tokens; None for the reranker's.
            instruction: instruction of the call; None for the reranker's.
            stacklevel: frame that a warning points to; 3 for the caller of this method's caller.

        Raises:
            InvalidRequestError: the length is out of range, or the instruction is not a string, or too long.
        """
        options, instruction = self.options, check_instruction(instruction)
        if max_length is not None:
            options = replace(options, max_length=checked_length(self._files, max_length))
        if instruction is None:
            return options
        if self._files.manifest.template.takes_instruction:
            return replace(options, instruction=instruction)
        if not self._warned:
            self._warned = True
            warnings.warn(f"{self._files.manifest.name}: {IGNORED}", stacklevel=stacklevel)
        return options

    def ignores(self, instruction: str | None) -> bool:
        """Return True if an instruction, that of the call or of the reranker, is not read."""
        given = check_instruction(instruction) is not None
        return self._ignored or (given and not self._files.manifest.template.takes_instruction)


def checked_length(files: ModelFiles, max_length: int | None) -> int:
    """Return a length that the model can read; its own for None.

    Raises:
        InvalidRequestError: the length is out of range.
    """
    manifest = files.manifest
    if max_length is None:
        return manifest.max_length
    return check_max_length(max_length, manifest.architecture.max_length, manifest.name)
