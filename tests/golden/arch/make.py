#!/usr/bin/env python3
"""Makes the models of this folder, and what llama.cpp computes with them.

    make.py ORACLE

Random weights, tiny sizes, architectures (or members of them) that the shared data has no model of. ORACLE is a program
over libllama that is called as `ORACLE MODEL LOGITS N CTX ID...`: it evaluates the ids (keys and values in f32, one
thread, no flash attention), writes the logits of the last one to LOGITS (f32, little-endian), and prints the N ids that
greedy decoding goes on with. Needs the packages gguf and numpy.

Embeddings are computed here, in double precision, and so is starcoder2, whose GELU llama.cpp reads from a table of halves;
there llama.cpp must come near and go on with the same tokens.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).resolve().parent
VOCAB, CTX, GREEDY = 64, 128, 12
PROMPTS = [[1, 5, 9, 2, 33], [(7 * i * i + 3 * i + 11) % VOCAB for i in range(70)]]


class Model:
    def __init__(self, name, arch, d=16, layers=2, heads=2, kv=1, head=8, ff=24, rms=True):
        self.rng = np.random.default_rng(sum(map(ord, name)))
        self.tensors, self.gain = {}, 1.3
        self.path = HERE / f"{name}.gguf"
        self.w = gguf.GGUFWriter(self.path, arch)
        self.arch, self.d, self.layers, self.heads, self.kv, self.head, self.ff = arch, d, layers, heads, kv, head, ff
        w = self.w
        w.add_context_length(CTX)
        w.add_embedding_length(d)
        w.add_block_count(layers)
        w.add_feed_forward_length(ff)
        w.add_head_count(heads)
        w.add_head_count_kv(kv)
        w.add_vocab_size(VOCAB)
        (w.add_layer_norm_rms_eps if rms else w.add_layer_norm_eps)(1e-5)
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("qwen2")
        w.add_token_list([chr(33 + i) for i in range(VOCAB - 1)] + ["AB"])
        w.add_token_types([1] * VOCAB)
        w.add_token_merges(["A B"])
        self.matrix("token_embd", VOCAB, d)
        if "bert" not in arch:
            self.norm("token_embd_norm" if "lfm2" in arch else "output_norm", d)

    def add(self, name, values):
        values = np.asarray(values, dtype=np.float32)
        self.tensors[name] = values.astype(np.float64)
        self.w.add_tensor(name, values)

    def add_again(self, name, values):
        self.w.add_tensor(name, values.astype(np.float32))

    def matrix(self, name, *shape, bias=False):
        """Rows, columns; experts first, if there are any."""
        self.add(f"{name}.weight", self.rng.normal(size=shape) * self.gain / np.sqrt(shape[-1]))
        if bias:
            self.add(f"{name}.bias", 0.1 * self.rng.normal(size=shape[:-1]))

    def norm(self, name, n, bias=False):
        self.add(f"{name}.weight", 1 + 0.2 * self.rng.normal(size=n))
        if bias:
            self.add(f"{name}.bias", 0.1 * self.rng.normal(size=n))

    def vector(self, name, values):
        self.add(name, values)

    def attention(self, il, fused=False, bias=False):
        b, q, k = f"blk.{il}.", self.heads * self.head, self.kv_heads(il) * self.head
        if fused:
            self.matrix(b + "attn_qkv", q + 2 * k, self.d, bias=bias)
        else:
            self.matrix(b + "attn_q", q, self.d, bias=bias)
            self.matrix(b + "attn_k", k, self.d, bias=bias)
            self.matrix(b + "attn_v", k, self.d, bias=bias)
        self.matrix(b + "attn_output", self.d, q, bias=bias)

    def kv_heads(self, il):
        return self.kv[il] if isinstance(self.kv, list) else self.kv

    def mlp(self, il, suffix="", ff=None):
        b, ff = f"blk.{il}.", ff or self.ff
        self.matrix(f"{b}ffn_gate{suffix}", ff, self.d)
        self.matrix(f"{b}ffn_up{suffix}", ff, self.d)
        self.matrix(f"{b}ffn_down{suffix}", self.d, ff)

    def experts(self, il, count, ff, bias=False):
        b = f"blk.{il}."
        self.matrix(b + "ffn_gate_inp", count, self.d, bias=bias)
        self.matrix(b + "ffn_gate_exps", count, ff, self.d, bias=bias)
        self.matrix(b + "ffn_up_exps", count, ff, self.d, bias=bias)
        self.matrix(b + "ffn_down_exps", count, self.d, ff, bias=bias)

    def finish(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def cohere2():
    m = Model("cohere2", "cohere2", layers=4, rms=False)
    m.w.add_sliding_window(16)
    m.w.add_logit_scale(0.25)
    m.w.add_rope_dimension_count(8)
    for il in range(m.layers):
        m.norm(f"blk.{il}.attn_norm", m.d)
        m.attention(il)
        m.mlp(il)
    return m


def gpt_oss():
    m = Model("gpt-oss", "gpt-oss", heads=4, kv=2)
    w = m.w
    w.add_key_length(8)
    w.add_value_length(8)
    w.add_rope_dimension_count(8)
    w.add_sliding_window(16)
    w.add_expert_count(4)
    w.add_expert_used_count(2)
    w.add_expert_feed_forward_length(m.ff)
    w.add_rope_freq_base(150000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_orig_ctx_len(32)
    m.matrix("output", VOCAB, m.d)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        m.norm(b + "post_attention_norm", m.d)
        m.attention(il, bias=True)
        m.vector(b + "attn_sinks.weight", m.rng.normal(size=m.heads))
        m.experts(il, 4, m.ff, bias=True)
    return m


def granitemoe():
    m = Model("granitemoe", "granitemoe")
    w = m.w
    w.add_expert_count(4)
    w.add_expert_used_count(2)
    w.add_expert_shared_feed_forward_length(16)
    w.add_embedding_scale(3.0)
    w.add_residual_scale(0.4)
    w.add_attention_scale(0.3)
    w.add_logit_scale(2.0)
    w.add_rope_dimension_count(8)
    for il in range(m.layers):
        m.norm(f"blk.{il}.attn_norm", m.d)
        m.attention(il)
        m.norm(f"blk.{il}.ffn_norm", m.d)
        m.experts(il, 4, m.ff)
        m.mlp(il, "_shexp", 16)
    return m


def mixtral_apart():
    """As mixtrals of early 2024 are: a tensor for each expert. llama.cpp is asked about the same weights as it wants them now."""
    m = Model("mixtral-apart", "llama", heads=4, kv=2, d=32)
    m.w.add_expert_count(8)
    m.w.add_expert_used_count(2)
    m.w.add_rope_dimension_count(8)
    m.matrix("output", VOCAB, m.d)
    for il in range(m.layers):
        m.norm(f"blk.{il}.attn_norm", m.d)
        m.attention(il)
        m.norm(f"blk.{il}.ffn_norm", m.d)
        m.experts(il, 8, m.ff)
    return m


def apart(m):
    """Writes the file again, with the experts' matrices as they were then."""
    old = gguf.GGUFWriter(m.path, m.arch)
    old.kv_data, m.w = m.w.kv_data, old
    for name, values in m.tensors.items():
        if "_exps" not in name:
            m.add_again(name, values)
            continue
        for i, matrix in enumerate(values):
            m.add_again(name.replace("_exps.weight", f".{i}.weight"), matrix)
    m.finish()


def phi3_long():
    m = Model("phi3-longrope", "phi3", heads=2, kv=2)
    w = m.w
    w.add_rope_dimension_count(8)
    w.add_rope_scaling_orig_ctx_len(32)
    w.add_rope_scaling_attn_factors(1.19)
    m.vector("rope_factors_long.weight", [1.0, 1.4, 2.5, 6.0])
    m.vector("rope_factors_short.weight", [1.0, 1.05, 1.1, 1.2])
    m.matrix("output", VOCAB, m.d)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        m.attention(il, fused=True)
        m.norm(b + "ffn_norm", m.d)
        m.matrix(b + "ffn_up", 2 * m.ff, m.d)
        m.matrix(b + "ffn_down", m.d, m.ff)
    return m


def olmo3():
    m = Model("olmo3", "olmo2", layers=4)
    w = m.w
    w.add_sliding_window(16)
    w.add_rope_freq_base(500000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_attn_factors(1.2)
    w.add_rope_scaling_orig_ctx_len(32)
    m.matrix("output", VOCAB, m.d)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.attention(il)
        m.norm(b + "attn_q_norm", m.heads * m.head)
        m.norm(b + "attn_k_norm", m.kv * m.head)
        m.norm(b + "post_attention_norm", m.d)
        m.mlp(il)
        m.norm(b + "post_ffw_norm", m.d)
    return m


def stablelm2_12b():
    m = Model("stablelm-parallel", "stablelm", rms=False)
    m.w.add_rope_dimension_count(4)
    m.w.add_parallel_residual(True)
    m.matrix("output", VOCAB, m.d)
    m.vector("output_norm.bias", 0.1 * m.rng.normal(size=m.d))
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d, bias=True)
        m.attention(il)
        m.norm(b + "attn_q_norm", (m.heads, m.head))
        m.norm(b + "attn_k_norm", (m.kv, m.head))
        m.mlp(il)
    return m


def gemma3_global():
    """Per-layer windows and stretched positions, as larger members have them."""
    m = Model("gemma3-linear", "gemma3", layers=3)
    w = m.w
    w.add_key_length(8)
    w.add_value_length(8)
    w.add_sliding_window(16)
    w.add_sliding_window_pattern([True, False, True])
    w.add_rope_freq_base(1000000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    w.add_rope_scaling_factor(8.0)
    w.add_final_logit_softcapping(5.0)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        m.attention(il)
        m.norm(b + "attn_q_norm", m.head)
        m.norm(b + "attn_k_norm", m.head)
        m.norm(b + "post_attention_norm", m.d)
        m.norm(b + "ffn_norm", m.d)
        m.mlp(il)
        m.norm(b + "post_ffw_norm", m.d)
    return m


def mistral3_long():
    """The second prompt goes beyond the original context, and then beyond twice that."""
    return mistral3("mistral3-long", 32)


def mistral3(name="mistral3", original=CTX):
    m = Model(name, "mistral3")
    w = m.w
    w.add_rope_dimension_count(8)
    w.add_rope_freq_base(1000000.0)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(16.0)
    w.add_rope_scaling_orig_ctx_len(original)
    w.add_rope_scaling_yarn_log_mul(1.0)
    w.add_attn_temperature_scale(0.1)
    m.matrix("output", VOCAB, m.d)
    for il in range(m.layers):
        m.norm(f"blk.{il}.attn_norm", m.d)
        m.attention(il)
        m.norm(f"blk.{il}.ffn_norm", m.d)
        m.mlp(il)
    return m


def qwen3vlmoe():
    m = Model("qwen3vlmoe", "qwen3vlmoe")
    w = m.w
    w.add_key_length(8)
    w.add_value_length(8)
    w.add_rope_dimension_sections([2, 1, 1, 0])
    w.add_expert_count(4)
    w.add_expert_used_count(2)
    w.add_expert_feed_forward_length(16)
    m.matrix("output", VOCAB, m.d)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        m.attention(il)
        m.norm(b + "attn_q_norm", m.head)
        m.norm(b + "attn_k_norm", m.head)
        m.norm(b + "ffn_norm", m.d)
        m.experts(il, 4, 16)
    return m


def lfm2moe():
    m = lfm2("lfm2moe")
    w = m.w
    w.add_leading_dense_block_count(1)
    w.add_expert_count(4)
    w.add_expert_used_count(2)
    w.add_expert_feed_forward_length(16)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    return m


def lfm2(arch="lfm2"):
    m = Model(arch, arch, layers=4, kv=[0, 1, 0, 1])
    w = m.w
    w.add_shortconv_l_cache(3)
    w.add_rope_freq_base(1000000.0)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        if m.kv[il]:
            m.attention(il)
            m.norm(b + "attn_q_norm", m.head)
            m.norm(b + "attn_k_norm", m.head)
        else:
            m.matrix(b + "shortconv.conv", m.d, 3)
            m.matrix(b + "shortconv.in_proj", 3 * m.d, m.d)
            m.matrix(b + "shortconv.out_proj", m.d, m.d)
        m.norm(b + "ffn_norm", m.d)
        if arch == "lfm2" or il == 0:
            m.mlp(il)
        else:
            m.experts(il, 4, 16)
            m.vector(b + "exp_probs_b.bias", 0.3 * m.rng.normal(size=4))
    return m


def mamba2():
    m = Model("mamba2", "mamba2", heads=0, kv=0, ff=0)
    w = m.w
    inner, state, heads, groups, taps = 32, 8, 4, 2, 4
    w.add_ssm_conv_kernel(taps)
    w.add_ssm_inner_size(inner)
    w.add_ssm_state_size(state)
    w.add_ssm_time_step_rank(heads)
    w.add_ssm_group_count(groups)
    convolved = inner + 2 * groups * state
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        m.matrix(b + "ssm_in", inner + convolved + heads, m.d)
        m.matrix(b + "ssm_conv1d", convolved, taps, bias=True)
        m.vector(b + "ssm_dt.bias", m.rng.normal(size=heads))
        m.vector(b + "ssm_a", -np.exp(m.rng.normal(size=(heads, 1))))
        m.vector(b + "ssm_d", m.rng.normal(size=(heads, 1)))
        m.norm(b + "ssm_norm", (groups, inner // groups))
        m.matrix(b + "ssm_out", m.d, inner)
    return m


def deepseek2():
    m = mla("deepseek2", q_rank=0)
    w = m.w
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(4.0)
    w.add_rope_scaling_orig_ctx_len(32)
    w.add_rope_scaling_yarn_log_mul(0.0707)
    return m


def deepseek2_sigmoid():
    m = mla("deepseek2-sigmoid", q_rank=12)
    m.w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    m.w.add_expert_weights_norm(True)
    m.w.add_expert_weights_scale(1.8)
    for il in range(1, m.layers):
        m.vector(f"blk.{il}.exp_probs_b.bias", 0.3 * m.rng.normal(size=4))
    return m


def deepseek2_groups():
    """As DeepSeek-V3 and R1 are: experts in groups, of which a token gets some."""
    m = mla("deepseek2-groups", q_rank=12, experts=12)
    m.w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    m.w.add_expert_group_count(4)
    m.w.add_expert_group_used_count(2)
    m.w.add_expert_weights_norm(True)
    m.w.add_expert_weights_scale(2.5)
    for il in range(1, m.layers):
        m.vector(f"blk.{il}.exp_probs_b.bias", 0.3 * m.rng.normal(size=12))
    return m


def mla(name, q_rank, experts=4):
    """Of 26 layers llama.cpp assumes that queries are not compressed, of others that they are."""
    rank, rope, nope, value, d, layers = (16, 4, 8, 12, 16, 3) if q_rank else (8, 4, 4, 6, 8, 26)
    m = Model(name, "deepseek2", d=d, layers=layers, heads=2, kv=1, ff=d)
    w = m.w
    w.add_key_length(rank + rope)
    w.add_value_length(rank)
    w.add_key_length_mla(nope + rope)
    w.add_value_length_mla(value)
    if layers > 8:
        m.gain = 0.5  # deep and narrow: differences would grow
    w.add_kv_lora_rank(rank)
    w.add_rope_dimension_count(rope)
    w.add_leading_dense_block_count(1)
    w.add_expert_count(experts)
    w.add_expert_used_count(2 if experts < 8 else 4)
    w.add_expert_shared_count(1)
    w.add_expert_feed_forward_length(d // 2)
    m.matrix("output", VOCAB, m.d)
    if q_rank:
        w.add_q_lora_rank(q_rank)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d)
        if q_rank:
            m.matrix(b + "attn_q_a", q_rank, m.d)
            m.norm(b + "attn_q_a_norm", q_rank)
            m.matrix(b + "attn_q_b", m.heads * (nope + rope), q_rank)
        else:
            m.matrix(b + "attn_q", m.heads * (nope + rope), m.d)
        m.matrix(b + "attn_kv_a_mqa", rank + rope, m.d)
        m.norm(b + "attn_kv_a_norm", rank)
        m.matrix(b + "attn_k_b", m.heads, rank, nope)
        m.matrix(b + "attn_v_b", m.heads, value, rank)
        m.matrix(b + "attn_output", m.d, m.heads * value)
        m.norm(b + "ffn_norm", m.d)
        if il == 0:
            m.mlp(il)
        else:
            m.experts(il, experts, d // 2)
            m.mlp(il, "_shexp", d // 2)
    return m


def bert():
    m = Model("bert", "bert", kv=2, rms=False)
    m.w.add_causal_attention(False)
    m.w.add_pooling_type(gguf.PoolingType.CLS)
    m.w.add_token_type_count(2)
    m.matrix("token_types", 2, m.d)
    m.matrix("position_embd", CTX, m.d)
    m.norm("token_embd_norm", m.d, bias=True)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.attention(il, bias=True)
        m.norm(b + "attn_output_norm", m.d, bias=True)
        m.matrix(b + "ffn_up", m.ff, m.d, bias=True)
        m.matrix(b + "ffn_down", m.d, m.ff, bias=True)
        m.norm(b + "layer_output_norm", m.d, bias=True)
    return m


def nomic_bert():
    m = Model("nomic-bert", "nomic-bert", kv=2, rms=False)
    m.w.add_causal_attention(False)
    m.w.add_pooling_type(gguf.PoolingType.MEAN)
    m.w.add_token_type_count(2)
    m.w.add_rope_freq_base(1000.0)
    m.matrix("token_types", 2, m.d)
    m.norm("token_embd_norm", m.d, bias=True)
    for il in range(m.layers):
        b = f"blk.{il}."
        m.attention(il, fused=True)
        m.norm(b + "attn_output_norm", m.d, bias=True)
        m.mlp(il)
        m.norm(b + "layer_output_norm", m.d, bias=True)
    return m


def starcoder2():
    """Of the guest in guest/examples/starcoder2."""
    m = Model("starcoder2", "starcoder2", heads=4, kv=2, d=32, head=8, rms=False)
    m.w.add_rope_dimension_count(8)
    m.w.add_rope_freq_base(100000.0)
    m.vector("output_norm.bias", 0.1 * m.rng.normal(size=m.d))
    for il in range(m.layers):
        b = f"blk.{il}."
        m.norm(b + "attn_norm", m.d, bias=True)
        m.attention(il, bias=True)
        m.norm(b + "ffn_norm", m.d, bias=True)
        m.matrix(b + "ffn_up", m.ff, m.d, bias=True)
        m.matrix(b + "ffn_down", m.d, m.ff, bias=True)
    return m


class Definition:
    """What layers are put together from, by the book."""

    def __init__(self, m, n, freq_base):
        self.t, self.m, self.n, self.freq_base = m.tensors, m, n, freq_base

    def linear(self, x, name):
        return x @ self.t[f"{name}.weight"].T + self.t.get(f"{name}.bias", 0)

    def norm(self, x, name):
        c = x - x.mean(-1, keepdims=True)
        scale = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)
        return c * scale * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def rotate(self, x):
        half = self.m.head // 2
        angle = np.outer(np.arange(self.n), self.freq_base ** (-np.arange(half) / half))
        c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * c - b * s, a * s + b * c], -1)

    def attend(self, q, k, v, causal):
        """Heads of queries share those of keys and values, as many as there are of one for one of the other."""
        q, k, v = (part.reshape(self.n, -1, self.m.head) for part in (q, k, v))
        if self.freq_base:
            q, k = self.rotate(q), self.rotate(k)
        k, v = (np.repeat(part, q.shape[1] // part.shape[1], 1) for part in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(self.m.head)
        if causal:
            scores = np.where(np.tri(self.n, dtype=bool), scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("hij,jhd->ihd", e / e.sum(-1, keepdims=True), v).reshape(self.n, -1)


def starcoder2_logits(m, ids):
    """Of the last position."""
    on = Definition(m, len(ids), 100000.0)
    x = m.tensors["token_embd.weight"][ids]
    for il in range(m.layers):
        b = f"blk.{il}."
        normed = on.norm(x, b + "attn_norm")
        qkv = [on.linear(normed, b + f"attn_{part}") for part in "qkv"]
        x = x + on.linear(on.attend(*qkv, causal=True), b + "attn_output")
        up = on.linear(on.norm(x, b + "ffn_norm"), b + "ffn_up")
        gelu = up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3))) / 2
        x = x + on.linear(gelu, b + "ffn_down")
    return (on.norm(x, "output_norm") @ m.tensors["token_embd.weight"].T)[-1]


def embedding(m, ids):
    """What bert (first row) and nomic-bert (mean) make of the ids."""
    t, n = m.tensors, len(ids)
    on = Definition(m, n, 0 if m.arch == "bert" else 1000.0)
    linear, norm = on.linear, on.norm

    x = t["token_embd.weight"][ids] + t["token_types.weight"][0]
    if m.arch == "bert":
        x = x + t["position_embd.weight"][:n]
    x = norm(x, "token_embd_norm")
    for il in range(m.layers):
        b = f"blk.{il}."
        if m.arch == "bert":
            qkv = [linear(x, b + f"attn_{part}") for part in "qkv"]
        else:
            qkv = np.split(linear(x, b + "attn_qkv"), 3, -1)
        mixed = on.attend(*qkv, causal=False)
        x = norm(x + linear(mixed, b + "attn_output"), b + "attn_output_norm")
        if m.arch == "bert":
            up = linear(x, b + "ffn_up")
            hidden = up * (1 + np.vectorize(math.erf)(up / math.sqrt(2))) / 2
        else:
            gate = linear(x, b + "ffn_gate")
            hidden = gate / (1 + np.exp(-gate)) * linear(x, b + "ffn_up")
        x = norm(x + linear(hidden, b + "ffn_down"), b + "layer_output_norm")
    y = x[0] if m.arch == "bert" else x.mean(0)
    return y / np.linalg.norm(y)


def ask(oracle, m, logits, ids):
    """Has llama.cpp write its logits; the tokens that it goes on with."""
    args = [oracle, m.path, HERE / logits, GREEDY, CTX, *ids]
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{m.path.stem}: {done.returncode}: {done.stderr[-400:]}")
    return [int(x) for x in done.stdout.split()]


def by_definition(oracle, m, compute):
    """Cases of a model that is computed here."""
    cases = []
    for i, ids in enumerate(PROMPTS):
        file = f"{m.path.stem}.{i}.logits.f32"
        theirs = ask(oracle, m, file, ids)
        seen, ours = np.fromfile(HERE / file, "<f4"), compute(m, ids)
        far = abs(ours - seen).max() / abs(ours).max()
        greedy = []
        for _ in range(GREEDY):
            greedy.append(int(compute(m, ids + greedy).argmax()))
        if far > 1e-3 or greedy != theirs:
            raise SystemExit(f"{m.path.stem}: llama.cpp is {far} away, and goes on with {theirs}, not {greedy}")
        ours.astype("<f4").tofile(HERE / file)
        cases.append({"prompt_ids": ids, "logits_file": file, "shape": [1, VOCAB], "greedy_ids": greedy})
    return cases


def main():
    oracle = sys.argv[1]
    version = sys.argv[2] if len(sys.argv) > 2 else "llama.cpp"
    models = [cohere2, gpt_oss, granitemoe, mixtral_apart, phi3_long, olmo3, stablelm2_12b, gemma3_global, mistral3, mistral3_long, qwen3vlmoe, lfm2, lfm2moe,
              deepseek2, deepseek2_sigmoid, deepseek2_groups, mamba2]
    everything = {}
    for make in models:
        m = make()
        m.finish()
        name = m.path.stem
        cases = []
        for i, ids in enumerate(PROMPTS):
            logits = f"{name}.{i}.logits.f32"
            greedy = ask(oracle, m, logits, ids)
            cases.append({"prompt_ids": ids, "logits_file": logits, "shape": [1, VOCAB], "greedy_ids": greedy})
        if make is mixtral_apart:
            apart(m)
        # llama.cpp's GELU reads a table of halves.
        tolerance = 1e-3 if m.arch.startswith("gemma") else 1e-4
        everything[name] = {"reference": version, "tolerance": tolerance, "cases": cases}
        print(name, m.path.stat().st_size)
    m = starcoder2()
    m.finish()
    cases = by_definition(oracle, m, starcoder2_logits)
    everything["starcoder2"] = {"guest": "starcoder2", "reference": "make.py (numpy)", "tolerance": 1e-4, "cases": cases}
    for make in [bert, nomic_bert]:
        m = make()
        m.finish()
        name = m.path.stem
        cases = []
        for i, ids in enumerate(PROMPTS):
            file = f"{name}.{i}.embedding.f32"
            embedding(m, ids).astype("<f4").tofile(HERE / file)
            cases.append({"prompt_ids": ids, "embedding_file": file})
        everything[name] = {"reference": "make.py (numpy)", "tolerance": 1e-5, "cases": cases}
        print(name, m.path.stat().st_size)
    text = json.dumps(everything, indent=None, separators=(",", ":")).replace('},"', '},\n"')
    (HERE / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
