r"""The part of a completion that is the solution: behind thoughts, before the texts of stop tokens.

What it is for: completions as programs write them down, with the stop token's text ("14<|im_end|>") or the model's
thoughts ("<think>...</think>") in them. It does not know tokenizers: it goes by how such tokens are written. Every scan
is linear. Source: the chat templates of Qwen, Llama, Gemma, Mistral, DeepSeek, gpt-oss and others; ours.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

_MAX_TOKEN_CHARS = 96
_WORDS = (
    "eos|bos|pad|unk|eot|eod|eom|end_of_turn|start_of_turn|end_of_text|end_of_utterance|endoftext|turn\\|"
)
_TOKEN = rf"(?:<\|[^|<>\s]{{1,60}}\|>|<｜[^｜<>]{{1,60}}｜>|</?s>|<(?i:{_WORDS})>|\[(?:EOS|PAD|SEP|/?INST)\])"
_HEADER = r"(?:(?:<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>)(?:assistant|user|system|model))"
_SPECIAL = re.compile(rf"{_HEADER}|{_TOKEN}")
_THOUGHT = "think|thinking|thought|reasoning|seed:think"
_OPENED = re.compile(rf"(?i:<(?:{_THOUGHT})>|\[think\]|◁think▷|<\|begin_of_thought\|>)")
_CLOSED = re.compile(
    rf"(?i:</(?:{_THOUGHT})>|\[/think\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>)"
)


class Stripped(NamedTuple):
    """A text without the texts of stop tokens at its end.

    Attributes:
        text: The text up to them; unchanged where there are none.
        tokens: What was taken off, in the order of the text.
    """

    text: str
    tokens: tuple[str, ...]


def strip_stop_tokens(text: str) -> Stripped:
    """Take the texts of stop tokens off the end, with the white space behind and between them.

    Taken off are `<|im_end|>` and all others of the form `<|...|>`, `<｜...｜>`, `</s>`, `<eos>`, `<end_of_turn>` and
    the like, and the opening of another turn (`<|im_start|>user`). The same text elsewhere stays as it is.

    Examples:
        >>> strip_stop_tokens("#### 14<|im_end|>\\n")
        Stripped(text='#### 14', tokens=('<|im_end|>',))
        >>> strip_stop_tokens("14</s> is written.\\n").tokens
        ()
    """
    end, tokens = len(text), []
    while True:
        stop = end
        while stop and text[stop - 1].isspace():
            stop -= 1
        limit = max(0, stop - _MAX_TOKEN_CHARS)
        start = max(text.rfind("<", limit, stop), text.rfind("[", limit, stop))
        found = _SPECIAL.fullmatch(text, start, stop) if start >= 0 else None
        if found is None:
            break
        tokens.append(found[0])
        end = start
    return Stripped(text[:end] if tokens else text, tuple(reversed(tokens)))


def solution_part(text: str) -> str:
    r"""What of a completion is the solution.

    Behind the last thought that ends ("</think>", also where none begins) and before one that never ends; where nothing
    stands behind the last, what stands before the first. A thought that never ends leaves what stands before it: for a
    completion cut off within its thought, nothing. Texts of special tokens become ends of lines.

    Examples:
        >>> solution_part("<think>is it 5?</think>It is 14.<|im_end|>"), solution_part("<think>is it 5?")
        ('It is 14.', '')
    """
    text = strip_stop_tokens(text).text
    closed = next(iter(deque(_CLOSED.finditer(text), maxlen=1)), None)
    rest = text if closed is None else text[closed.end() :]
    opened = _OPENED.search(rest)
    rest = rest if opened is None else rest[: opened.start()]
    if closed is not None and not rest.strip():
        first = _OPENED.search(text)
        rest = text[: first.start()] if first is not None and first.start() < closed.start() else ""
    return _SPECIAL.sub("\n", rest)
