from __future__ import annotations

from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.retrieval.parsing import parse_here
from rerankd.retrieval.splitting import Block
from tests.unit.retrieval.corpus import FILES, CorpusFile


def shown(block: Block) -> str:
    page = (f"p. {block.page}",) if block.page else ()
    return " > ".join((*page, *block.headings, block.text.strip().replace("\n", "/")))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_gives_the_text_that_a_reader_finds(tmp_path: Path, file: CorpusFile) -> None:
    path = tmp_path / file.name
    file.write(path)
    if file.refused:
        with pytest.raises(InvalidInputFileError, match=file.refused):
            list(parse_here(path))
        return
    documents = list(parse_here(path))
    assert [shown(block) for document in documents for block in document.blocks if block.text.strip()] == list(
        file.texts
    )
    assert sum(document.lost_characters for document in documents) == 0
    assert tuple(note for document in documents for note in document.notes) == file.notes


def test_there_are_forty_files_of_different_names() -> None:
    assert len({file.name for file in FILES}) == len(FILES) >= 40
