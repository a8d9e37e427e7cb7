"""Models, tokenizers and texts that tests share: made here, seeded; `shared/` is used where it is there."""

from __future__ import annotations

import atexit
import gc
import json
import os
import random
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# torch's threads would spin between the steps of tiny models, and take the processor from servers beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Expected and recorded scores are those of ONNX Runtime, on every processor; the tests of the kernels switch them on.
os.environ["RERANKD_NATIVE"] = "off"

import hypothesis
import pytest

from benchmarks.model import train_xlmr_tokenizer, write_xlmr_settings
from rerankd.demo import load_traps

# How long one example takes says more about the machine's load than about the code.
hypothesis.settings.register_profile("without deadline", deadline=None)
hypothesis.settings.load_profile("without deadline")

# Behind a shell that does without job control, Ctrl+C is ignored, also by the programs that tests start to send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until the tests are collected: everything that is imported until then stays

# Services keep jobs and traces there; those of tests are none of the user's.
_STATE = tempfile.TemporaryDirectory(prefix="rerankd-state-")
atexit.register(_STATE.cleanup)
os.environ["XDG_STATE_HOME"] = _STATE.name
TESTS = Path(__file__).parent
SHARED = TESTS.parents[1] / "shared"
# Failed asserts in it show what they compared, as those in test modules do.
pytest.register_assert_rewrite("tests.integration.contract")
ORDER = ["integration", "e2e", "unit"]
"""Two processes share the modules; the long ones come first, so that both end at the same time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make soak` runs the tests marked `soak` with."""
    parser.addoption("--soak", action="store_true", help="repeat as often as `make soak` does, not as `make test`")


@pytest.fixture
def repetitions(request: pytest.FixtureRequest) -> int:
    """Return how often a test marked `soak` repeats its requests: 1,000 times in `make soak`, 250 in `make test`."""
    return 1000 if request.config.getoption("--soak") else 250


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long modules first."""
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(TESTS).parts[0]))


def pytest_collection_finish() -> None:
    """Leave out of garbage collection what stays: imported modules and collected tests."""
    gc.collect()
    gc.freeze()
    gc.enable()


def shared(*parts: str) -> Path:
    """Return a path under shared/, or a skip that says so. CI has it, so CI fails instead."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and CI must have it")
        pytest.skip(f"{path} is not there; it is not part of the product")
    return path


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Chinese and English sentences."""
    traps = load_traps()
    return [trap.query for trap in traps] + [text for trap in traps for text in trap.documents]


@pytest.fixture(scope="session")
def mixed_pairs(texts: list[str]) -> list[tuple[str, str]]:
    """200 pairs, Chinese and English, from empty documents to far over-length ones on both sides."""
    draw = random.Random(5)
    pairs = []
    for number in range(200):
        query = " ".join(draw.choices(texts, k=30 if number % 20 == 7 else draw.randint(1, 2)))
        document = " ".join(draw.choices(texts, k=draw.choice([0, 1, 2, 5, 12, 40])))
        pairs.append((query, document))
    return pairs


REAL_TOKENIZER = SHARED / "models" / "xlmr-tokenizer" / "tokenizer.json"
PIECES = 20_000


def _whole_tokenizer(folder: Path, texts: list[str]) -> int:
    """Write XLM-R's own tokenizer if shared/ has it, else one trained on `texts`; return its size."""
    if not REAL_TOKENIZER.exists():
        return train_xlmr_tokenizer(texts * 5, folder)
    shutil.copy(REAL_TOKENIZER, folder)
    write_xlmr_settings(folder)
    return len(json.loads(REAL_TOKENIZER.read_bytes())["model"]["vocab"])


def _short_tokenizer(folder: Path, texts: list[str]) -> int:
    """Return the same with its `PIECES` most frequent pieces: it loads in 0.03 s, the whole one in 1 s."""
    if not REAL_TOKENIZER.exists():
        return train_xlmr_tokenizer(texts * 5, folder)
    tokenizer = json.loads(REAL_TOKENIZER.read_bytes())
    pieces = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = [*pieces[:PIECES], pieces[-1]]
    for token in tokenizer["added_tokens"]:
        token["id"] = min(token["id"], PIECES)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    # transformers would build a tokenizer of XLM-R's own class anew from the pieces.
    write_xlmr_settings(folder, "PreTrainedTokenizerFast")
    return PIECES + 1


def _bert_tokenizer(folder: Path, texts: list[str]) -> int:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing

    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(iter(texts * 5), vocab_size=1500, min_frequency=1, show_progress=False)
    tokenizer = trainer._tokenizer
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return int(tokenizer.get_vocab_size())


SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 160,
    "num_labels": 1,
}


def random_model(model: Any, folder: Path) -> Path:
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms away from 0 and 1, so that a forgotten one shows.
            spread = 0.3 if name.endswith("bias") or "LayerNorm" in name else 0.08
            parameter.add_(torch.randn_like(parameter) * spread)
    model.eval().save_pretrained(folder)
    return folder


def _xlmr_model(folder: Path, vocabulary: int) -> Path:
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    torch.manual_seed(1)
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        layer_norm_eps=1e-5,
        **SHAPE,
    )
    return random_model(XLMRobertaForSequenceClassification(config), folder)


@pytest.fixture(scope="session")
def xlmr(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """Return a random XLM-RoBERTa reranker, with the frequent pieces of the real tokenizer if shared/ has it.

    A tokenizer trained on few texts maps different documents to the same ids; random weights then rank ties, and the
    verification of compiled models fails by chance.
    """
    folder = tmp_path_factory.mktemp("models") / "xlmr"
    folder.mkdir()
    return _xlmr_model(folder, _short_tokenizer(folder, texts))


@pytest.fixture(scope="session")
def whole_xlmr(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """Return the same with the whole tokenizer, for what compares with transformers."""
    folder = tmp_path_factory.mktemp("models") / "whole-xlmr"
    folder.mkdir()
    return _xlmr_model(folder, _whole_tokenizer(folder, texts))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """Return a random BERT reranker."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "bert"
    folder.mkdir()
    vocabulary = _bert_tokenizer(folder, texts)
    torch.manual_seed(2)
    config = BertConfig(vocab_size=vocabulary, max_position_embeddings=512, **SHAPE)
    return random_model(BertForSequenceClassification(config), folder)


@pytest.fixture(scope="session", params=["xlmr", "bert"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """Both families, one after the other."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the native kernels on, or skip the test where there are none."""
    from rerankd.scoring.native import library

    monkeypatch.delenv(library.SWITCH)
    if (problem := library.unavailable()) is not None:
        pytest.skip(problem)


@pytest.fixture(params=["amx", "avx512", "vnni"])
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Switch the native kernels on for each set of instructions that this machine has."""
    from rerankd.scoring.native import library

    name: str = request.param
    monkeypatch.setenv(library.SWITCH, name)
    if (problem := library.unavailable()) is not None:
        pytest.skip(problem)
    return name


@pytest.fixture(scope="session", params=["bert", "xlmr"])
def native_checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random checkpoint for the native kernels: BERT with heads of 32, XLM-RoBERTa with heads of 64."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    source: Path = request.getfixturevalue(request.param)
    made = tmp_path_factory.mktemp("native") / request.param
    shutil.copytree(source, made, ignore=shutil.ignore_patterns("*.safetensors"))
    config = AutoConfig.from_pretrained(source)
    config.num_attention_heads, config.intermediate_size = 2, 192
    if request.param == "xlmr":
        config.hidden_size, config.intermediate_size = 128, 256
    torch.manual_seed(3)
    network = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    return random_model(network, made)


_compiled: dict[Path, dict[str, Path]] = {}


@pytest.fixture(scope="session")
def compiled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the checkpoint compiled to fp32 and int8."""
    # pytest makes a fixture with parameters again for each module.
    if checkpoint not in _compiled:
        _compiled[checkpoint] = compile_twice(checkpoint, tmp_path_factory.mktemp("compiled"))
    return _compiled[checkpoint]


def compile_twice(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Return the folders of the checkpoint compiled to fp32 and int8."""
    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.models.files import load_model

    folders = {}
    for precision in ("fp32", "int8"):
        folders[precision] = folder / f"{checkpoint.name}-{precision}"
        compile_model(
            load_model(str(checkpoint)), folders[precision], CompileOptions(precision, waive=precision == "int8")
        )
    return folders


@pytest.fixture(scope="session")
def tiny(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small compiled model, verified; `tests.registered.variant` makes others of it."""
    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.models.files import load_model

    folder = tmp_path_factory.mktemp("compiled") / "tiny"
    compile_model(load_model(str(bert)), folder, CompileOptions("fp32"))
    return folder
