"""Candidate (b): late interaction, and layers in which the query's tokens read the document.

Documents are still encoded without the query, so their states can be cached. Each layer lets the query's tokens attend
to one another and to the document's tokens; what they have read changes the logit. The output starts at zero, so that
training begins with the ranking of late interaction. Only the query's tokens pass the layers: for a document, a layer
computes keys and values, a sixth of what a layer of the encoder computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import gelu, kl_div, layer_norm

from rerankd.compiler.late_interaction_graph import MASKED
from rerankd.training.late_interaction import LateInteractionRanker, Side

from .bank import Bank, Step
from .groups import SIZE
from .loop import draws, loop
from .train import autocast, encoded

HEAD = 64  # width of an attention head
INNER = 2  # width of the inner layer, relative to the states'
RATE = 6e-4
KEPT = 0.2  # weight of the divergence from the order of late interaction alone


class Reading(torch.nn.Module):
    """A layer: query tokens attend to query tokens, then to the document's, then pass a perceptron (pre-norm)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.heads = max(1, size // HEAD)
        self.own = torch.nn.Linear(size, 3 * size)
        self.own_output = torch.nn.Linear(size, size)
        self.query = torch.nn.Linear(size, size)
        self.document = torch.nn.Linear(size, 2 * size)
        self.output = torch.nn.Linear(size, size)
        self.inner = torch.nn.Linear(size, INNER * size)
        self.outer = torch.nn.Linear(INNER * size, size)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(size) for _ in range(3))
        # Attention begins with a liking for tokens of the same meaning, and of the same piece.
        self.alike = torch.nn.Parameter(torch.linspace(0, 12, self.heads))
        self.same = torch.nn.Parameter(torch.linspace(0, 4, self.heads).flip(0))

    def _split(self, states: torch.Tensor, parts: int) -> Sequence[torch.Tensor]:
        batch, length, _ = states.shape
        parted: Sequence[torch.Tensor] = states.view(batch, length, parts, self.heads, -1).permute(2, 0, 3, 1, 4)
        return parted

    def _attended(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        weights = ((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2) + bias).softmax(-1)
        batch, _, length, _ = query.shape
        return (weights.to(value.dtype) @ value).transpose(1, 2).reshape(batch, length, -1)

    def forward(
        self,
        states: torch.Tensor,
        document: torch.Tensor,
        masks: tuple[torch.Tensor, torch.Tensor],
        similar: torch.Tensor,
        same: torch.Tensor,
    ) -> torch.Tensor:
        """Return the query's states after the layer, shape (pairs, query length, size)."""
        query, key, value = self._split(self.own(self.norms[0](states)), 3)
        states = states + self.own_output(self._attended(query, key, value, masks[0][:, None, None]))
        (query,) = self._split(self.query(self.norms[1](states)), 1)
        key, value = self._split(self.document(document), 2)
        bias = masks[1][:, None, None] + similar[:, None] * self.alike[:, None, None]
        bias = bias + same[:, None] * self.same[:, None, None]
        states = states + self.output(self._attended(query, key, value, bias))
        result: torch.Tensor = states + self.outer(gelu(self.inner(self.norms[2](states))))
        return result


class JointRanker(LateInteractionRanker):
    """Late interaction with layers that read the document."""

    def __init__(self, bert: Any, layers: int = 2) -> None:
        super().__init__(bert)
        size = bert.config.hidden_size
        self.reading = torch.nn.ModuleList(Reading(size) for _ in range(layers))
        self.read = torch.nn.Linear(2 * size, 1)
        torch.nn.init.zeros_(self.read.weight)
        torch.nn.init.zeros_(self.read.bias)

    @classmethod
    def of(cls, ranker: LateInteractionRanker, layers: int = 2) -> JointRanker:
        """Return a ranker that ranks like `ranker` until it is trained."""
        made = cls(ranker.encoder.bert, layers)
        missing = made.load_state_dict(ranker.state_dict(), strict=False)
        if missing.unexpected_keys or not all(name.startswith("read") for name in missing.missing_keys):
            raise ValueError(f"The ranker's weights are not those of late interaction: {missing}.")
        return made

    def forward(self, query: Side, document: Side) -> torch.Tensor:
        """Return the logits of pairs row by row, shape (pairs,), float32."""
        before, after = self.parts(query, document)
        return before + after

    def parts(self, query: Side, document: Side) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of late interaction, and what reading adds to them."""
        similar = query.tokens @ document.tokens.transpose(1, 2)
        same = (query.ids[:, :, None] == document.ids[:, None, :]).float()
        before = self.combined(query, (query.mean * document.mean).sum(-1), similar, same, document.content)
        masks = ((query.ids == 0) * MASKED, (1 - document.content) * MASKED)
        scale = (query.hidden.shape[-1],)
        states, read = layer_norm(query.hidden, scale), layer_norm(document.hidden, scale)
        for layer in self.reading:
            states = layer(states, read, masks, similar, same)
        states = layer_norm(states.float(), scale)
        weights = self.weights(self.meaning, query.hidden, query.content)
        pooled = torch.cat([(states * weights[..., None]).sum(1), states[:, 0]], -1)
        return before, self.read(pooled)[:, 0].float()


def train_reading(
    name: str,
    bank: Bank,
    ranker: JointRanker,
    seconds: float,
    device: torch.device,
    *,
    leave_out: frozenset[str] = frozenset(),
    tokens: int = 6000,
    workers: int = 1,
) -> list[dict[str, float]]:
    """Train the reading layers on labels; the encoder stays as it is."""
    for parameter in ranker.parameters():
        parameter.requires_grad_(False)
    trained = [*ranker.reading.parameters(), *ranker.read.parameters()]
    for parameter in trained:
        parameter.requires_grad_(True)

    def losses(step: Step, fraction: float) -> dict[str, torch.Tensor]:
        with autocast(device):
            with torch.no_grad():
                queries = encoded(ranker, [step.queries], len(bank.prefixes["query"]), device)
                passages = encoded(ranker, step.passages, len(bank.prefixes["passage"]), device)
            rows = torch.arange(len(queries.ids), device=device).repeat_interleave(SIZE)
            before, after = ranker.parts(queries.rows(rows), passages)
            before, after = before.view(-1, SIZE), after.view(-1, SIZE)
            logits = before + after
            labels = -logits.log_softmax(-1)[:, 0].mean()
            kept = kl_div(logits.log_softmax(-1), before.softmax(-1), reduction="batchmean")
        return {"labels": labels, "kept": KEPT * kept}

    steps = draws(lambda number: bank.step(f"{name}{number}", tokens, leave_out), workers)
    return loop(name, steps, [(ranker, [{"params": trained, "lr": RATE}])], losses, seconds)
