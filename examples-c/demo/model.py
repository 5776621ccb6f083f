"""The demo model in PyTorch: the llama architecture, nothing left out, nothing added.

RoPE turns interleaved pairs (2i, 2i+1), as llama.cpp's `llama` architecture does, so the query and
key weights go into the GGUF as they are. (A Hugging Face checkpoint, which turns halves, would need
its rows permuted.)
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    """The hyper-parameters; each one becomes a metadata key of the GGUF."""

    vocab: int = 2304
    context: int = 256
    width: int = 192
    blocks: int = 4
    heads: int = 6
    kv_heads: int = 2
    feed_forward: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_dim(self):
        return self.width // self.heads


class Norm(nn.Module):
    """x / rms(x) * weight."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.epsilon

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.epsilon)


def rotate(x, cos, sin):
    """Turns pairs (2i, 2i+1) of x [batch, heads, tokens, head_dim] by the angles [tokens, head_dim / 2]."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Block(nn.Module):
    """Attention with grouped keys and values, then a gated feed-forward; both added to the stream."""

    def __init__(self, shape):
        super().__init__()
        s = self.shape = shape
        self.attn_norm = Norm(s)
        self.attn_q = nn.Linear(s.width, s.heads * s.head_dim, bias=False)
        self.attn_k = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.attn_v = nn.Linear(s.width, s.kv_heads * s.head_dim, bias=False)
        self.attn_output = nn.Linear(s.heads * s.head_dim, s.width, bias=False)
        self.ffn_norm = Norm(s)
        self.ffn_gate = nn.Linear(s.width, s.feed_forward, bias=False)
        self.ffn_up = nn.Linear(s.width, s.feed_forward, bias=False)
        self.ffn_down = nn.Linear(s.feed_forward, s.width, bias=False)

    def forward(self, x, cos, sin):
        s = self.shape
        b, t, _ = x.shape
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(b, t, s.heads, s.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.attn_k(h).view(b, t, s.kv_heads, s.head_dim).transpose(1, 2), cos, sin)
        v = self.attn_v(h).view(b, t, s.kv_heads, s.head_dim).transpose(1, 2)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        # Written out: on a CPU, at these lengths, quicker than the fused attention's backward pass.
        scores = (q * s.head_dim**-0.5) @ k.transpose(-1, -2)
        future = torch.full((t, t), float("-inf"), dtype=scores.dtype).triu(1)
        h = (scores + future).softmax(-1).to(v.dtype) @ v
        x = x + self.attn_output(h.transpose(1, 2).reshape(b, t, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """Token ids [batch, tokens] to hidden states; `logits` turns chosen ones into [*, vocab]. Embeddings are tied."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.output_norm = Norm(shape)
        pairs = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angles = torch.outer(torch.arange(shape.context).float(), shape.rope_base**-pairs)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.02 if "token_embd" in name else 1 / math.sqrt(p.shape[1])
                if "attn_output" in name or "ffn_down" in name:
                    std /= math.sqrt(2 * shape.blocks)
                nn.init.normal_(p, std=std)

    def forward(self, ids):
        t = ids.shape[1]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, self.cos[:t], self.sin[:t])
        return self.output_norm(x)

    def logits(self, h):
        return F.linear(h, self.token_embd.weight)
