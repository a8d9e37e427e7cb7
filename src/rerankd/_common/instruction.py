"""Instructions: what counts as relevant, for the models that read one with each pair."""

from __future__ import annotations

from rerankd.errors import InvalidRequestError
from rerankd.types import MAX_INSTRUCTION

IGNORED = "instruction is not read by this model and was ignored"
"""Warning of an answer whose model has no place for an instruction."""


def check_instruction(instruction: object) -> str | None:
    """Return an instruction that can be used; None for a blank one, which asks for the model's own.

    Args:
        instruction: the caller's instruction; None for none.

    Raises:
        InvalidRequestError: not a string, or longer than `MAX_INSTRUCTION` characters.

    Example:
        >>> check_instruction("Retrieve statutes."), check_instruction(" ")
        ('Retrieve statutes.', None)
    """
    if instruction is None:
        return None
    if not isinstance(instruction, str):
        raise InvalidRequestError(
            f"The instruction is of type {type(instruction).__name__}, not a string.",
            hint="Pass what counts as relevant as a string.",
        )
    if len(instruction) > MAX_INSTRUCTION:
        raise InvalidRequestError(
            f"The instruction has {len(instruction)} characters; {MAX_INSTRUCTION} are allowed.",
            hint="Say in a sentence or two what counts as relevant.",
        )
    try:
        instruction.encode()
    except UnicodeEncodeError:  # lone surrogates, which neither JSON nor a tokenizer can carry
        instruction = instruction.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return instruction if instruction.strip() else None
