"""Cut a text into steps where trees of the same policy are cut: by the same rules, from the same measurements.

For solutions of others, to be judged by a PRM that was trained on trees. The rules are `eduprm.segment`'s, named as
there; what they need of a policy is measured here in one teacher-forced pass. Knows neither prompts nor PRMs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from eduprm.search.embedded.checks import stop_ids_of
from eduprm.search.embedded.loading import load_policy
from eduprm.search.embedded.scoring import TokenScorer
from eduprm.search.tokenizer import PolicyTokenizer
from eduprm.segment import Solution, get_segmenter, joint_segmenter, judged_texts, needs_of


class TextCutter:
    r"""A policy with the segmenters that read its tokens.

    A tree may also end a step before a stop token. A text has none, so there it ends with its last step.

    Args:
        policy: bundled model, local folder or hub name. Its weights are loaded only if a segmenter asks for them.
        segmenters: names of `eduprm.segment` with the options of each; steps end where any of them ends one.
        device: of the weights; None for the GPU if there is one, else the CPU.

    Raises:
        ValueError: no such policy, segmenter or option.

    Examples:
        >>> cutter = TextCutter("smollm2-135m-instruct", {"lines": {}})
        >>> cutter.steps([], "2 * 3 = 6\n\n#### 6")
        ['2 * 3 = 6\n\n', '#### 6']
    """

    def __init__(
        self, policy: str, segmenters: Mapping[str, Mapping[str, object]], *, device: str | None = None
    ) -> None:
        self._cut = joint_segmenter(segmenters)
        self._tokenizer = PolicyTokenizer(policy)
        self._scorer: TokenScorer | None = None
        self._stop_ids: frozenset[int] = frozenset()
        if any(needs_of(get_segmenter(name, **options)) for name, options in segmenters.items()):
            model = load_policy(policy, device=device)
            self._scorer = TokenScorer(model)
            self._stop_ids = stop_ids_of(model)

    def reset(self) -> None:
        """Hold no prefix, so that what follows does not depend on what came before, to the last bit."""
        if self._scorer is not None:
            self._scorer.reset()

    def steps(self, prompt_ids: list[int], text: str) -> list[str]:
        """Steps of a text that stands behind a prompt; joined they are the text again.

        Raises:
            ValueError: prompt and text are longer than the policy's context.
        """
        ids, starts = self._tokenizer.encode_with_starts(text)
        texts = [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]
        solution = Solution(texts)
        if self._scorer is not None:
            measured = self._scorer.score(prefix_ids=prompt_ids, token_ids=ids)
            top_texts = judged_texts(measured.top_ids, self._tokenizer.decode, stop_ids=self._stop_ids)
            solution = Solution(texts, measured.entropies, measured.logprobs, top_texts)
        # Several tokens may make one character: they share its start, and a cut stands before the whole of it.
        begun = {starts[span.start] for span in self._cut(solution)}
        cuts = [0, *sorted(begun - {0, len(text)}), len(text)]
        return [text[start:stop] for start, stop in pairwise(cuts)]
