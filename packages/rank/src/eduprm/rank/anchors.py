"""Cut a solution where trees of a policy are cut: by the steps that an EDU-PRM is trained on, `--segment entropy`.

For the policy that the settings name, and the prompt it reads a problem with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eduprm.core.errors import UsageError, first_line
from eduprm.problems import messages_for
from eduprm.rank.settings_parts import PolicySettings
from eduprm.search import PolicyTokenizer, TextCutter


class EntropyCutter:
    """The policy, and the prompt that it reads a problem with.

    Raises:
        UsageError: no such model, one that cannot be loaded, no such segmenter or prompt style.
    """

    def __init__(
        self,
        settings: PolicySettings,
        segmenters: Mapping[str, Mapping[str, object]],
        *,
        device: str | None,
    ) -> None:
        self._settings = settings
        try:
            messages_for("", settings.style)
        except ValueError as error:
            raise UsageError(f"--policy.style: {error}") from None
        try:
            self._tokenizer = PolicyTokenizer(settings.model)
            self._cutter = TextCutter(settings.model, segmenters, device=device)
        except Exception as error:  # transformers raises many kinds: no such name, no network, broken files
            raise UsageError(
                f"--policy.model: {settings.model} cannot be loaded: {first_line(error)}"
            ) from error

    def reset(self) -> None:
        """Hold no prefix: at the start of a chunk, so that its steps do not depend on whether a run was resumed."""
        self._cutter.reset()

    def steps(self, problem: str, solutions: Sequence[str]) -> list[list[str] | str]:
        """Steps of a problem's solutions, which joined are the solution again, or why one cannot be cut.

        A solution that is with its problem longer than the policy's context cannot.
        """
        prompt = self._tokenizer.encode_chat(messages_for(problem, self._settings.style))
        return self._cutter.steps(prompt, solutions)
