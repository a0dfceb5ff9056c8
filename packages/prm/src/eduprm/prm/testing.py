"""A PRM of a few thousand random weights and a byte tokenizer, made without any download.

For tests and documentation examples of everything that needs a PRM on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eduprm.prm.config import InputFormat
from eduprm.prm.tree import TokenTree, build_tree

__all__ = ["byte_tokenizer", "ragged_tree", "tiny_backbone", "tiny_prm"]

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<eos>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def byte_tokenizer() -> Any:
    """Return a tokenizer with one token per byte, `<eos>`, `<pad>` and a chat template.

    Examples:
        >>> byte_tokenizer().decode(byte_tokenizer().encode("3*4"))
        '3*4'
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(symbols)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def ragged_tree(seed: int, *, num_nodes: int = 9, chain: bool = False, num_prompt: int = 5) -> TokenTree:
    """Return a random tree of nodes of 1 to 5 byte tokens, weighed by their leaves; `chain`: without forks.

    Examples:
        >>> len(ragged_tree(0, num_nodes=4).parents)
        4
    """
    rng = np.random.default_rng(seed)
    parents, path = [-1], [0]
    for node in range(1, num_nodes):
        depth = len(path) if chain else int(rng.integers(1, len(path) + 1))
        path = path[:depth]
        parents.append(path[-1])
        path.append(node)
    leaves = np.zeros(num_nodes)
    has_child = set(parents)
    for node in range(num_nodes - 1, -1, -1):
        leaves[node] += node not in has_child
        if parents[node] >= 0:
            leaves[parents[node]] += leaves[node]
    nodes = [rng.integers(0, 256, size=rng.integers(1, 6)).tolist() for _ in range(num_nodes)]
    prompt = rng.integers(0, 256, size=num_prompt).tolist()
    targets = np.where(rng.random(num_nodes) < 0.5, rng.integers(0, 2, num_nodes), rng.random(num_nodes))
    return build_tree(prompt, nodes, parents, name=f"t{seed}", targets=targets, weights=leaves)


def _tiny_config(architecture: str, settings: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    tokenizer = byte_tokenizer()
    size = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return AutoConfig.for_model(architecture, **{**size, **settings})


def tiny_backbone(
    folder: str | Path,
    *,
    architecture: str = "llama",
    seed: int = 0,
    max_position_embeddings: int = 256,
    **settings: Any,
) -> Path:
    """Write a random causal language model and its tokenizer to `folder`; `settings` are of its config."""
    import torch
    from transformers import AutoModelForCausalLM

    from eduprm.prm.loading import quiet_transformers

    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        config = _tiny_config(architecture, {"max_position_embeddings": max_position_embeddings, **settings})
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)  # large enough that attention matters
        model.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
    return Path(folder)


def tiny_prm(
    folder: str | Path,
    *,
    input_format: InputFormat | None = None,
    architecture: str = "llama",
    seed: int = 0,
    max_position_embeddings: int = 256,
) -> Path:
    """Write a random PRM to `folder`, loadable by `ProcessRewardModel.from_pretrained`.

    Examples:
        >>> import tempfile
        >>> from eduprm.prm import ProcessRewardModel
        >>> folder = tiny_prm(tempfile.mkdtemp() + "/prm")
        >>> len(ProcessRewardModel.from_pretrained(folder).score("2*3?", ["2*3 = 6\\n", "#### 6"]))
        2
    """
    import torch

    from eduprm.prm.loading import load_classifier
    from eduprm.prm.saving import save_prm

    folder = Path(folder)
    tiny_backbone(
        folder, architecture=architecture, seed=seed, max_position_embeddings=max_position_embeddings
    )
    model: Any = load_classifier(folder)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        model.score.weight.normal_(std=0.5, generator=generator)
    save_prm(model, byte_tokenizer(), input_format or InputFormat(), folder, dtype=torch.float32, notes={})
    return folder
