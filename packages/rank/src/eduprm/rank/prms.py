"""Which PRM scores a file of solutions: the one of a folder, a service's, a language model's on a server, or a judge.

How it is opened and how it scores is `eduprm.prm.source`, `eduprm.serve.source` and `eduprm.serve.judge.source`.
"""

from __future__ import annotations

import sys

from eduprm.prm.source import PrmPlace, PrmSource
from eduprm.rank.settings import RankSettings
from eduprm.rank.wrapping import wrapped


def find_source(settings: RankSettings) -> PrmPlace:
    """The PRM that the settings name, with what they put around it.

    Where they name none, a line on stderr says which is taken.

    Raises:
        UsageError: there is none.
    """
    return wrapped(_find(settings), settings)


def _find(settings: RankSettings) -> PrmPlace:
    from eduprm.prm.default_prm import unnamed_prm
    from eduprm.serve.judge.source import named_place  # aiohttp comes with it
    from eduprm.serve.source import LanguageModelSource, ServedSource

    url = settings.prm_url
    if url is not None and settings.prm_server == "eduprm":
        return ServedSource(url, wait_s=settings.prm_wait_s)
    source: PrmPlace
    if settings.prm is not None:
        source = named_place(settings.prm, settings, settings.judge)
    else:
        name, folder, line = unnamed_prm(settings.file)
        print(f"rerank: {line}", file=sys.stderr)
        source = PrmSource.at(folder, settings, name=name)
    if url is None or not isinstance(source, PrmSource):
        return source
    adapter = settings.prm_adapter
    served = LanguageModelSource(url, source, wait_s=settings.prm_wait_s, adapter=adapter)
    beside = "" if adapter is None else f" with its adapter {adapter}"
    print(
        f"rerank: scores of {served.name} come from {served.model}{beside}, which {url} runs", file=sys.stderr
    )
    return served
