"""One tiny random PRM with a byte tokenizer, and one service over it, for all tests here."""

import pytest

from eduprm.prm import ProcessRewardModel
from eduprm.prm.testing import tiny_prm
from eduprm.serve.server.testing import Serving

CONTEXT = 256


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_prm(tmp_path_factory.mktemp("prm") / "prm", max_position_embeddings=CONTEXT)


@pytest.fixture(scope="session")
def prm(folder):
    return ProcessRewardModel.from_pretrained(folder)


@pytest.fixture(scope="session")
def service(prm):
    with Serving(prm) as serving:
        yield serving


class Gated:
    """The PRM with a gate before it: packs wait until it is open, and are noted; `fail` says which to fail at."""

    def __init__(self, prm):
        import threading

        self.prm, self.builder, self.max_tokens = prm, prm.builder, prm.max_tokens
        self.open, self.entered = threading.Event(), threading.Event()
        self.packs = []
        self.fail = lambda pack: None

    def score_ids(self, solutions):
        self.packs.append(len(solutions))
        self.entered.set()
        assert self.open.wait(30)
        self.fail(solutions)
        return self.prm.score_ids(solutions)


@pytest.fixture
def gated(prm):
    gate = Gated(prm)
    yield gate
    gate.open.set()
