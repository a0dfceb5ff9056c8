"""Cut texts into steps by what a policy measures of their tokens.

For solutions of others, to be judged by a PRM that was trained on trees: cut by `eduprm.segment`'s rules, as trees of
the same policy are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from eduprm.core.errors import first_line
from eduprm.search.embedded.model import load_policy, stop_ids_of
from eduprm.search.embedded.scoring import TokenScorer, TokenScores
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
        >>> cutter.steps([], ["2 * 3 = 6\n\n#### 6", "6"])
        [['2 * 3 = 6\n\n', '#### 6'], ['6']]
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

    def steps(self, prompt_ids: list[int], texts: Sequence[str]) -> list[list[str] | str]:
        """Steps of texts behind one prompt, or why one cannot be cut; joined, steps are the text again (none if empty).

        What the texts share is computed once. One longer than the policy's context leaves the others as they are.
        """
        results: list[list[str] | str] = [""] * len(texts)
        read: dict[int, tuple[list[int], list[int]]] = {}
        for index, text in enumerate(texts):
            try:
                read[index] = self._read(prompt_ids, text)
            except ValueError as error:
                results[index] = first_line(error)
        for index, measured in self._measured(prompt_ids, {k: ids for k, (ids, _) in read.items()}).items():
            cut = (
                measured
                if isinstance(measured, str)
                else self._cut_at(texts[index], read[index][1], measured)
            )
            results[index] = cut
        return results

    def _read(self, prompt_ids: list[int], text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text and where each begins."""
        read = self._tokenizer.encode_with_starts(text)
        if self._scorer is not None:
            self._scorer.check_length(prompt_ids, read[0])
        return read

    def _measured(
        self, prompt_ids: list[int], texts: Mapping[int, list[int]]
    ) -> dict[int, TokenScores | str | None]:
        """What the policy says of texts, None without one; or why it says nothing."""
        if self._scorer is None:
            return dict.fromkeys(texts)
        try:
            found = self._scorer.score(prefix_ids=prompt_ids, texts=list(texts.values()))
        except ValueError as error:
            if len(texts) == 1:
                return dict.fromkeys(texts, first_line(error))
            # Each by itself: what is wrong with one is not said of the others.
            return {k: self._measured(prompt_ids, {k: ids})[k] for k, ids in texts.items()}
        return dict(zip(texts, found, strict=True))

    def _cut_at(self, text: str, starts: list[int], measured: TokenScores | None) -> list[str]:
        if not starts:
            return []
        texts = [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]
        solution = Solution(texts)
        if measured is not None:
            top_texts = judged_texts(measured.top_ids, self._tokenizer.decode, stop_ids=self._stop_ids)
            solution = Solution(texts, measured.entropies, measured.logprobs, top_texts)
        # Several tokens may make one character: they share its start, and a cut stands before the whole of it.
        begun = {starts[span.start] for span in self._cut(solution)}
        cuts = [0, *sorted(begun - {0, len(text)}), len(text)]
        return [text[start:stop] for start, stop in pairwise(cuts)]
