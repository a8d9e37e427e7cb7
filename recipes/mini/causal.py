"""A causal language model (Qwen2) whose sequences share a prefix.

The keys and values of the shared prefix are computed once and stored once, for judging many documents of one query and
for writing many texts with one set of examples. Products are in bfloat16.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

UNFINISHED = 0.06  # share of texts that are left unfinished, so that the longest do not hold up the others

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    packed: torch.Tensor  # query, key and value in one product
    packed_bias: torch.Tensor
    output: torch.Tensor
    second_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class Causal:
    """Weights of a Qwen2 model.

    Args:
        folder: config.json and model.safetensors as transformers writes them.
        device: device to compute on.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.bfloat16) -> None:
        self.device, self.dtype = torch.device(device), dtype
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.size = config["hidden_size"] // self.heads
        self.epsilon = config["rms_norm_eps"]
        theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
        self._frequencies = theta ** -(torch.arange(0, self.size, 2, device=device).float() / self.size)
        weights = load_file(folder / "model.safetensors")

        def one(name: str) -> torch.Tensor:
            return weights[f"model.{name}"].to(self.device, dtype)

        self.words, self.norm = one("embed_tokens.weight"), one("norm.weight")
        self.head = weights["lm_head.weight"].to(self.device, dtype) if "lm_head.weight" in weights else self.words
        self.layers = []
        for number in range(config["num_hidden_layers"]):
            at = f"layers.{number}"
            projections = [f"{at}.self_attn.{kind}_proj" for kind in "qkv"]
            self.layers.append(
                _Layer(
                    one(f"{at}.input_layernorm.weight"),
                    torch.cat([one(f"{name}.weight") for name in projections]),
                    torch.cat([one(f"{name}.bias") for name in projections]),
                    one(f"{at}.self_attn.o_proj.weight"),
                    one(f"{at}.post_attention_layernorm.weight"),
                    torch.cat([one(f"{at}.mlp.gate_proj.weight"), one(f"{at}.mlp.up_proj.weight")]),
                    one(f"{at}.mlp.down_proj.weight"),
                )
            )

    @torch.inference_mode()
    def prefix(self, ids: list[int]) -> KeysValues:
        """Return keys and values of one sequence in each layer, shape (heads of keys, tokens, size)."""
        _, made = self._forward(torch.tensor([ids], device=self.device), None, 0)
        return [(key[0], value[0]) for key, value in made]

    @torch.inference_mode()
    def last_states(self, rows: list[list[int]], prefix: KeysValues) -> torch.Tensor:
        """Return the normalised state of each row's last token after the prefix, shape (rows, hidden), float32."""
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self.device)
        hidden, _ = self._forward(ids, prefix, prefix[0][0].shape[1])
        last = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        states = hidden[torch.arange(len(rows), device=self.device), last]
        return rms_norm(states, (states.shape[-1],), self.norm, self.epsilon).float()

    @torch.inference_mode()
    def write(
        self,
        rows: list[list[int]],
        prefix: KeysValues,
        tokens: int,
        end: int,
        generator: torch.Generator,
        temperature: float = 0.8,
        nucleus: float = 0.95,
    ) -> list[list[int]]:
        """Return tokens sampled after each row, until `end` or `tokens` of them."""
        width, shared = max(map(len, rows)), prefix[0][0].shape[1]
        pads = torch.tensor([width - len(row) for row in rows], device=self.device)
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=self.device)
        shape = (len(rows), self.kv_heads, width + tokens, self.size)
        past = [tuple(torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in "kv") for _ in self.layers]
        written: list[list[int]] = [[] for _ in rows]
        open_rows = torch.ones(len(rows), dtype=torch.bool, device=self.device)
        filled = 0
        for _ in range(tokens):
            hidden = self._decode(ids, prefix, past, filled, pads, shared)
            filled += ids.shape[1]
            states = rms_norm(hidden[:, -1], (hidden.shape[-1],), self.norm, self.epsilon)
            following = _sample(linear(states, self.head).float(), temperature, nucleus, generator)
            open_rows &= following != end
            for i in open_rows.nonzero()[:, 0].tolist():
                written[i].append(int(following[i]))
            if open_rows.float().mean() < UNFINISHED:
                break
            ids = following[:, None]
        return written

    def _projected(
        self, layer: _Layer, hidden: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch, length, _ = hidden.shape
        normed = rms_norm(hidden, (hidden.shape[-1],), layer.norm, self.epsilon)
        packed = linear(normed, layer.packed, layer.packed_bias).view(batch, length, -1, self.size).transpose(1, 2)
        query, key, value = packed.split((self.heads, self.kv_heads, self.kv_heads), 1)
        return self._rotated(query, positions), self._rotated(key, positions), value

    def _rotated(self, states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        angles = positions[:, None, :, None].float() * self._frequencies
        cosine, sine = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        one, other = states.chunk(2, -1)
        return torch.cat([one * cosine - other * sine, other * cosine + one * sine], -1)

    def _after_attention(self, layer: _Layer, hidden: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        hidden = hidden + linear(context, layer.output)
        normed = rms_norm(hidden, (hidden.shape[-1],), layer.second_norm, self.epsilon)
        gate, up = linear(normed, layer.gate_up).chunk(2, -1)
        return hidden + linear(silu(gate) * up, layer.down)

    def _forward(self, ids: torch.Tensor, prefix: KeysValues | None, offset: int) -> tuple[torch.Tensor, KeysValues]:
        """Return states and the new keys and values of rows that are padded on the right."""
        batch, length = ids.shape
        positions = torch.arange(offset, offset + length, device=self.device)[None]
        seen = torch.arange(offset + length, device=self.device)[None] <= positions[0][:, None]
        hidden = embedding(ids, self.words)
        made: KeysValues = []
        for number, layer in enumerate(self.layers):
            query, key, value = self._projected(layer, hidden, positions)
            made.append((key, value))
            if prefix is not None:
                before = [part[None].expand(batch, -1, -1, -1) for part in prefix[number]]
                key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
            groups = self.heads // self.kv_heads
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
            context = scaled_dot_product_attention(query, key, value, seen)
            hidden = self._after_attention(layer, hidden, context.transpose(1, 2).reshape(batch, length, -1))
        return hidden, made

    def _decode(
        self, ids: torch.Tensor, prefix: KeysValues, past: Any, filled: int, pads: torch.Tensor, shared: int
    ) -> torch.Tensor:
        """Return the states of new tokens of rows that are padded on the left; their keys and values go to `past`."""
        batch, length = ids.shape
        columns = torch.arange(filled + length, device=self.device)
        own = columns[filled:]
        positions = (shared + own[None] - pads[:, None]).clamp(min=0)
        # Shape (rows, new tokens, tokens until now): earlier ones that are not padding.
        visible = (columns[None, None] <= own[None, :, None]) & (columns[None, None] >= pads[:, None, None])
        masked = torch.where(visible, 0.0, float("-inf"))[:, None, None]
        groups = self.heads // self.kv_heads
        hidden = embedding(ids, self.words)
        for number, layer in enumerate(self.layers):
            query, key, value = self._projected(layer, hidden, positions)
            keys, values = past[number]
            keys[:, :, filled : filled + length], values[:, :, filled : filled + length] = key, value
            keys, values = keys[:, :, : filled + length], values[:, :, : filled + length]
            query = (query * self.size**-0.5).view(batch, self.kv_heads, groups, length, self.size)
            # The prefix is multiplied once for all rows: (heads of keys, rows x groups x tokens, size).
            flat = query.transpose(0, 1).reshape(self.kv_heads, -1, self.size)
            before = (flat @ prefix[number][0].transpose(1, 2)).view(self.kv_heads, batch, groups, length, -1)
            after = query.flatten(2, 3) @ keys.transpose(2, 3)
            after = after.view(batch, self.kv_heads, groups, length, -1) + masked
            weights = torch.cat([before.transpose(0, 1).float(), after.float()], -1).softmax(-1).to(self.dtype)
            first = weights[..., :shared].transpose(0, 1).reshape(self.kv_heads, -1, shared) @ prefix[number][1]
            second = weights[..., shared:].flatten(2, 3) @ values
            context = first.view(self.kv_heads, batch, groups, length, -1).transpose(0, 1)
            context = context + second.view(batch, self.kv_heads, groups, length, -1)
            hidden = self._after_attention(
                layer, hidden, context.flatten(1, 2).transpose(1, 2).reshape(batch, length, -1)
            )
        return hidden


def _sample(logits: torch.Tensor, temperature: float, nucleus: float, generator: torch.Generator) -> torch.Tensor:
    """Return one token of each row, drawn among the likeliest that together have the share `nucleus`."""
    top, tokens = (logits / temperature).topk(min(100, logits.shape[-1]))
    shares = top.softmax(-1)
    shares = shares * (shares.cumsum(-1) - shares < nucleus)
    return tokens.gather(1, torch.multinomial(shares, 1, generator=generator))[:, 0]
