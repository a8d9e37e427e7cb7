"""Error for a weight that is missing: which model the names of the others belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rerankd.errors import CorruptModelError
from rerankd.models.architecture import Architecture
from rerankd.models.families import FAMILIES, StoredWeight


def missing_weight(
    folder: Path,
    missing: str,
    names: Sequence[str],
    architecture: Architecture,
    places: Mapping[str, StoredWeight],
) -> CorruptModelError:
    """Return the error for a missing weight.

    A single one is lost; if most are missing, the file holds another model, which is named if its family is known.

    Args:
        folder: folder of the model.
        missing: name under which the weight would be stored.
        names: names of the stored tensors.
        architecture: expected architecture.
        places: where weights are stored that are not stored under their own names.
    """
    wanted = [places[name].name if name in places else name for name in architecture.shapes()]
    present = sum(name in set(names) for name in dict.fromkeys(wanted))
    if 2 * present >= len(dict.fromkeys(wanted)):
        return CorruptModelError(f"{folder}: the weight {missing} is missing.", hint="Fetch the model again.")
    for family in FAMILIES.values():
        example = next((name for name in names if name.startswith(family.weight_marks)), None)
        if example is not None and family.name != architecture.family:
            return CorruptModelError(
                f"{folder}: config.json describes a model of the family {architecture.family}, but the weights are "
                f"named like those of {family.name} ({example}).",
                hint="Use weights and config.json from the same repository.",
            )
    return CorruptModelError(
        f"{folder}: the weights are not named like those of the family {architecture.family}: there is "
        f"{min(names, default='nothing')}, but no {missing}.",
        hint="Use a repository whose weights were saved by transformers; a model's own code is never run.",
    )
