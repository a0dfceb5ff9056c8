"""Cut a solution where a policy would have been unsure: `--segment entropy`, the steps that an EDU-PRM is trained on.

For: the entropy of every token of a given text, from one teacher-forced pass of the policy, turned into steps that join
back to the text. Does not know: the PRM. The rule is `eduprm.segment.entropy_anchors`', with its symbol rule.
"""

from __future__ import annotations

from itertools import pairwise

from eduprm.bench import messages_for
from eduprm.search import PolicyTokenizer, TokenScorer, load_policy
from eduprm.segment import entropy_anchors
from rerank_app.errors import UsageError, first_line
from rerank_app.settings import PolicySettings


class EntropyCutter:
    """The policy, and the prompt that it reads a problem with.

    Raises:
        UsageError: no such model, one that cannot be loaded, or no such prompt style.
    """

    def __init__(self, settings: PolicySettings, *, device: str | None) -> None:
        self._settings = settings
        try:
            messages_for("", settings.style)
        except ValueError as error:
            raise UsageError(f"--policy.style: {error}") from None
        try:
            self._tokenizer = PolicyTokenizer(settings.model)
            self._scorer = TokenScorer(load_policy(settings.model, device=device))
        except Exception as error:  # transformers raises many kinds: no such name, no network, broken files
            raise UsageError(
                f"--policy.model: {settings.model} cannot be loaded: {first_line(error)}"
            ) from error

    def reset(self) -> None:
        """Hold no prefix: at the start of a chunk, so that its steps do not depend on whether a run was resumed."""
        self._scorer.reset()

    def steps(self, problem: str, solution: str) -> list[str]:
        """Steps of a solution; joined they are the solution again.

        Raises:
            ValueError: problem and solution are longer than the policy's context.
        """
        prompt = self._tokenizer.encode_chat(messages_for(problem, self._settings.style))
        ids, starts = self._tokenizer.encode_with_starts(solution)
        measured = self._scorer.score(prefix_ids=prompt, token_ids=ids)
        texts = [
            solution[start:stop] for start, stop in zip(starts, [*starts[1:], len(solution)], strict=True)
        ]
        anchors = entropy_anchors(measured.entropies, texts, threshold=self._settings.threshold)
        # Several tokens may make one character: they share its start, and a cut stands before the whole of it.
        cuts = [0, *sorted({starts[anchor] for anchor in anchors} - {0, len(solution)}), len(solution)]
        return [solution[start:stop] for start, stop in pairwise(cuts)]
