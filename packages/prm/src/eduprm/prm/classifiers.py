"""A token-classification class for every decoder: transformers' own, or one made of its backbone and a linear head.

transformers has such a class for some families only (Llama, Mistral, Qwen), and none for OLMo, Gemma 3, Granite, Cohere
or OPT. What is made here is what its own classes are: `transformers.modeling_layers.GenericForTokenClassification` over
the family's base model.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["classifier_class"]


def classifier_class(config: Any, path: str | Path) -> Any:
    """Return what makes a token classifier of a backbone: a class with `from_pretrained` and `from_config`.

    That is `AutoModelForTokenClassification` where transformers knows a class for the config, or the config brings one.
    A PRM that is saved with a class made here is read by eduprm alone.

    Raises:
        ValueError: the backbone is no decoder of text alone that transformers knows.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        MODEL_MAPPING,
        AutoModelForTokenClassification,
    )

    kind = type(config)
    own = "AutoModelForTokenClassification" in (getattr(config, "auto_map", None) or {})
    if kind in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING or own:
        return AutoModelForTokenClassification
    known = kind in MODEL_FOR_CAUSAL_LM_MAPPING and kind in MODEL_MAPPING
    if not known or config.get_text_config() is not config or config.is_encoder_decoder:
        raise ValueError(
            f"{path} is a model of type {config.model_type}, which can have no head: expected a decoder of text alone "
            "that transformers knows, or losses of the language model (fork, language_model) with scoring.kind "
            "likelihood"
        )
    return _made(kind)  # type: ignore[arg-type]  # a class is hashable


@cache
def _made(kind: type) -> type:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, PreTrainedModel
    from transformers.modeling_layers import GenericForTokenClassification

    decoder: Any = MODEL_FOR_CAUSAL_LM_MAPPING[kind]
    backbone: Any = MODEL_MAPPING[kind]
    family = next(one for one in backbone.__mro__ if PreTrainedModel in one.__bases__)
    name = f"{decoder.__name__.removesuffix('ForCausalLM')}ForTokenClassification"
    body = {
        "__module__": __name__,
        "config_class": kind,
        "base_model_prefix": decoder.base_model_prefix,  # where a language model's checkpoint has its backbone
        "from_config": classmethod(lambda cls, config: cls._from_config(config)),
    }
    return type(name, (GenericForTokenClassification, family), body)
