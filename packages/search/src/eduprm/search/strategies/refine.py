"""Answer, critique, answer again: refinement at inference (DPSDP, arXiv 2506.08379), a vote over the turns.

The policy answers; asked in a further chat turn, it criticises its answer; asked once more, it answers again. The
paper's two models were trained for it, and the majority of five answers is taken. Our reading:

* One policy plays both parts, greedily. The whole conversation stays before it; the paper shows the last answer and
  its critique only.
* An answer is a solution of the tree and the next turn leaves it at its end: a path is the conversation up to an
  answer, graded by the last answer in it. Choose with the rule `majority`.
* What is asked between turns was inserted, not generated: its tokens have log-prob 0 and entropy 0 (nothing was
  chosen) and count as tokens of the tree. A PRM by likelihood finds them unlikely, so its scores do not compare turns.
* An answer that did not end is the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from eduprm.search.branches import Branch, as_branch
from eduprm.search.contract import Completion, Engine, Request, RequestError, Tokenizer
from eduprm.search.growth import extended
from eduprm.search.strategies._contract import Paths


class Refine(Paths):
    """Answers in turns, the policy's greedy path first.

    Examples:
        >>> Refine(turns=3).tree
        'refine'
    """

    max_tokens_per_path: int = Field(default=256, ge=1, description="most generated tokens of one answer")
    turns: int = Field(default=5, ge=1, description="answers, the first one included")
    critique_tokens: int = Field(
        default=128, ge=1, description="most tokens of one critique; a longer one is cut"
    )
    critique: str = Field(
        default="Check your solution line by line. Which line has the first mistake, and why?",
        min_length=1,
        description="asks for the critique, as a user's turn",
    )
    revise: str = Field(
        default="Now solve the problem again without that mistake.",
        min_length=1,
        description="asks for the next answer, as a user's turn",
    )

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "refine"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """One branch an answer, each leaving the one before at its end.

        Raises:
            RequestError: no chat template, or one that changes earlier turns.
        """
        asks = [turn_ids(tokenizer, text) for text in (self.critique, self.revise)] if self.turns > 1 else []
        talk = _Talk(self, prompt_ids, problem_id, engine)
        answers = [as_branch(await talk.heard((), self.max_tokens_per_path), greedy=True)]
        while len(answers) < self.turns and talk.may_go_on(answers[-1], asks):
            answers.append(await talk.next_answer(answers[-1], *asks))
        return answers


Strategy = Refine


class _Talk:
    """One conversation within its budget."""

    def __init__(self, options: Refine, prompt_ids: tuple[int, ...], problem_id: str, engine: Engine) -> None:
        self._options, self._prompt_ids, self._group, self._engine = options, prompt_ids, problem_id, engine
        self._num_tokens = 0

    async def heard(self, path_ids: tuple[int, ...], most: int) -> Completion:
        """What the policy says next."""
        left = self._left(len(path_ids))
        prefix = self._prompt_ids + path_ids
        request = Request(prefix_ids=prefix, max_new_tokens=min(most, left), group=self._group)
        done = await self._engine.generate(request)
        self._num_tokens += len(done.token_ids)
        return done

    def may_go_on(self, answer: Branch, asks: Sequence[Sequence[int]]) -> bool:
        """Whether the answer has ended, and there is room for a critique and the begin of another answer."""
        wanted = sum(map(len, asks)) + self._options.critique_tokens + 1
        return answer.finish == "stop" and self._left(answer.stop) >= wanted

    async def next_answer(self, answer: Branch, critique: Sequence[int], revise: Sequence[int]) -> Branch:
        """The branch that leaves an answer at its end: question, critique, question, answer."""
        at = answer.stop - 1  # the token that ended the answer ends it here too, as the template has it
        asked = as_branch(self._inserted(critique, answer))
        branch = replace(asked, parent=answer, start=at)
        branch = extended(branch, await self.heard(branch.path_ids(), self._options.critique_tokens))
        ended = branch.finish == "stop" and revise[0] in self._engine.stop_ids
        branch = extended(branch, self._inserted(revise[1:] if ended else revise, answer))
        branch = extended(branch, await self.heard(branch.path_ids(), self._options.max_tokens_per_path))
        answer.forks.append(at)
        return branch

    def _inserted(self, ids: Sequence[int], like: Branch) -> Completion:
        """Tokens that nobody chose, with bounds of their entropies where `like` has some."""
        self._num_tokens += len(ids)
        tokens, zeros = np.array(ids, np.int32), np.zeros(len(ids), np.float32)
        return Completion(
            token_ids=tokens, logprobs=zeros, entropies=zeros, runner_up_ids=tokens,
            runner_up_logprobs=zeros - np.inf, finish="length", prefix_tokens=0, cached_tokens=0,
            entropies_upper=None if like.entropies_upper is None else zeros,
        )  # fmt: skip

    def _left(self, length: int) -> int:
        """Tokens that a path of `length` tokens may still add."""
        left = self._engine.context_length - len(self._prompt_ids) - length
        most = self._options.max_total_tokens
        return left if most is None else min(left, most - self._num_tokens)


def turn_ids(tokenizer: Tokenizer, request: str) -> list[int]:
    """Token ids from the end of an assistant's turn to the begin of its next one, a user's request between them.

    Raises:
        RequestError: the tokenizer has no chat template, or its template changes earlier turns.
    """
    chat: Any = tokenizer
    asked = [{"role": "user", "content": "Q"}]
    more = [*asked, {"role": "assistant", "content": "A"}, {"role": "user", "content": request}]
    try:
        before, whole = [*chat.encode_chat(asked), *chat.encode("A")], list(chat.encode_chat(more))
    except AttributeError:
        raise RequestError("refine asks in chat turns: expected a tokenizer that writes them") from None
    except ValueError as error:
        raise RequestError(f"refine asks in chat turns: {error}") from error
    if whole[: len(before)] != before or len(whole) == len(before):
        raise RequestError(
            "refine asks in further chat turns: expected a chat template that leaves earlier ones as they were"
        )
    return whole[len(before) :]
