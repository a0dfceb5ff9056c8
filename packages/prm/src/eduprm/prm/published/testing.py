"""Tiny random checkpoints in the published forms: config, key names, tokenizer and chat template of the real ones.

For tests of everything that takes a published PRM. Configs
are as transformers 4 wrote them (`rope_theta`, `torch_dtype`, `auto_map`), since the hub's are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["CONTEXT", "ROPE_THETA", "bpe_tokenizer", "sentencepiece_tokenizer", "tiny_published"]

CONTEXT = 512
ROPE_THETA = 500.0  # not transformers' default, so that a config that is not read changes the scores

_CORPUS = [
    "What is 2 * 3 * 4? Janet's ducks lay 16 eggs per day. How much does she make every day?",
    "Step 1: Janet's ducks lay 16 eggs per day. Step 2: She eats three, so she has 16 - 3 = 13 eggs left.",
    "First, 2 * 3 = 6. Then 6 * 4 = 24, so the answer is 24. The answer is (\\boxed{24}).",
] * 4
# Splits as the tokenizers of Qwen2 and Llama 3 do where texts are joined: a space goes with the word behind it, line
# breaks with the punctuation before them.
_SPLIT = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA3 = (
    "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ bos_token }}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n<|eot_id|>' }}"
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def bpe_tokenizer(
    *, special: tuple[str, ...], chat_template: str | None = None, plain: tuple[str, ...] = (), **roles: Any
) -> Any:
    """Return a small byte-level BPE tokenizer with special tokens, and added tokens that are not special (`plain`)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator([*_CORPUS, "a.\nb?\n\nc"], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **roles)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.add_tokens(list(plain))
    tokenizer.chat_template = chat_template
    return tokenizer


def sentencepiece_tokenizer() -> Any:
    """Return a small tokenizer that works as Mistral's: a space before the text, bytes for what it lacks, BOS first."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    words = [word for line in _CORPUS for word in line.split()]
    base = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=base, show_progress=False)
    core.train_from_iterator([*words, *["ки", "+", "-"] * 40], trainer)
    # The bytes were special only while the vocabulary was laid out; as such they would match texts like "<0x41>".
    layout = json.loads(core.to_str())
    layout["added_tokens"] = [token for token in layout["added_tokens"] if token["id"] < 3]
    core = Tokenizer.from_str(json.dumps(layout))
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _config(model_type: str, architecture: str, tokenizer: Any, **entries: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": len(tokenizer) + 3,  # the published ones are padded too
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.37.0",
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        **entries,
    }


def _qwen_rm(architecture: str, tokenizer: Any) -> dict[str, Any]:
    classes = {
        "AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig",
        "AutoModel": f"modeling_qwen2_rm.{architecture}",
    }
    window = {"sliding_window": 131072, "use_sliding_window": False, "max_window_layers": 2}
    return _config("qwen2", architecture, tokenizer, auto_map=classes, use_mrope=False, **window)


def _qwen_math_prm() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    special = ("<|im_start|>", "<|im_end|>", "<extra_0>")
    tokenizer = bpe_tokenizer(
        special=special, chat_template=_CHATML, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    head = {
        "score.0.weight": (32, 32),
        "score.0.bias": (32,),
        "score.2.weight": (2, 32),
        "score.2.bias": (2,),
    }
    return tokenizer, _qwen_rm("Qwen2ForProcessRewardModel", tokenizer), head


def _skywork() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    roles: dict[str, Any] = {
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    tokenizer = bpe_tokenizer(special=("<|im_start|>",), chat_template=_CHATML, **roles)
    head = {"v_head.summary.weight": (1, 32), "v_head.summary.bias": (1,)}
    return tokenizer, _qwen_rm("Qwen2ForPrmModel", tokenizer), head


def _math_shepherd() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    tokenizer = sentencepiece_tokenizer()
    config = _config("mistral", "MistralForCausalLM", tokenizer, sliding_window=CONTEXT - 100)
    return tokenizer, config, {}


def _rlhflow() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    special = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    roles: dict[str, Any] = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    tokenizer = bpe_tokenizer(special=special, chat_template=_LLAMA3, **roles)
    return tokenizer, _config("llama", "LlamaForCausalLM", tokenizer), {}


def _trl() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    tokenizer = bpe_tokenizer(special=(), bos_token="<bos>", eos_token="<eos>")
    config = _config("llama", "LlamaForTokenClassification", tokenizer)
    return tokenizer, config, {"score.weight": (2, 32), "score.bias": (2,)}


def _label_tokens() -> tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]:
    tokenizer = bpe_tokenizer(special=("<step>",), plain=("<yes>", "<no>"), eos_token="<eos>")
    return tokenizer, _config("qwen2", "Qwen2ForCausalLM", tokenizer), {}


_MAKERS: dict[str, Callable[[], tuple[Any, dict[str, Any], dict[str, tuple[int, ...]]]]] = {
    "qwen2.5-math-prm": _qwen_math_prm,
    "math-shepherd": _math_shepherd,
    "rlhflow": _rlhflow,
    "skywork-o1-open-prm": _skywork,
    "trl": _trl,
    "label-tokens": _label_tokens,
}


def tiny_published(folder: str | Path, name: str, *, seed: int = 0) -> Path:
    """Write a random checkpoint of the form `name` to `folder`, in float32.

    Examples:
        >>> import tempfile
        >>> from eduprm.prm import load_step_scorer
        >>> folder = tiny_published(tempfile.mkdtemp() + "/prm", "qwen2.5-math-prm")
        >>> len(load_step_scorer(folder).score("2 * 3 * 4?", ["2 * 3 = 6", "6 * 4 = 24"]))
        2
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel

    from eduprm.prm.loading import quiet_transformers

    folder = Path(folder)
    folder.mkdir(parents=True)
    tokenizer, config, head = _MAKERS[name]()
    with quiet_transformers():
        tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        backbone = AutoModel.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    shapes = {f"model.{key}": tuple(value.shape) for key, value in backbone.state_dict().items()}
    if "TokenClassification" not in config["architectures"][0]:
        head = {**head, "lm_head.weight": (config["vocab_size"], config["hidden_size"])}
    weights = {
        # Large enough that attention matters; norms near 1.
        key: torch.randn(shape, generator=generator) * 0.25 + (1.0 if key.endswith("norm.weight") else 0.0)
        for key, shape in {**shapes, **head}.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
