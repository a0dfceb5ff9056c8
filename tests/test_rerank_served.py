"""apps/rerank with --prm-url: the same scores from a service, also when it goes away in the middle."""

import json

import pytest

from eduprm.prm import ProcessRewardModel
from eduprm.rank.testing import problems, read_jsonl, rejected, write_jsonl
from eduprm.serve.server.testing import Serving
from eduprm_rerank.cli import main


@pytest.fixture(scope="module")
def model(prm):
    return ProcessRewardModel.from_pretrained(prm)


@pytest.fixture
def served(tmp_path, monkeypatch, capsys):
    """Run the app in an empty folder against a URL; gives exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(url, *arguments):
        flags = ["in.jsonl", "--output", "out.jsonl", "--prm-url", url, "--bootstrap", "50", *arguments]
        status = main([*map(str, flags)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


class Leaving:
    """The PRM of a service that stops for good once it has scored so many solutions."""

    def __init__(self, model, *, after):
        self.model, self.left = model, after
        self.builder, self.max_tokens = model.builder, model.max_tokens
        self.stop = lambda: None

    def score_ids(self, solutions):
        self.left -= len(solutions)
        if self.left < 0:
            self.stop()
        return self.model.score_ids(solutions)


def test_the_scores_are_those_of_the_prm_in_this_process(served, rerank, model, tmp_path):
    rows = problems(9)
    rows[4]["solutions"][2] = "too long\n" + "x" * 300
    write_jsonl(tmp_path / "in.jsonl", rows)
    with Serving(model, identity="f" * 64) as serving:
        status, out, _ = served(serving.url, "--chunk-solutions", 8)
    assert status == 3  # one rejected
    assert "oracle" in out
    got = read_jsonl(tmp_path / "out.jsonl")
    assert rerank("in.jsonl", "--output", "local.jsonl", "--chunk-solutions", 8)[0] == 3
    for ours, local in zip(got, read_jsonl(tmp_path / "local.jsonl"), strict=True):
        assert ours["chosen"] == local["chosen"]
        for one, other in zip(ours["ranked"], local["ranked"], strict=True):
            assert one["steps"] == other["steps"]
            assert one["step_scores"] == pytest.approx(other["step_scores"], abs=1e-6)
    ((*where, reason),) = rejected(tmp_path / "out.jsonl.rejected.jsonl")
    assert where == [5, "p4", 2]
    assert "the PRM's context holds 256" in reason
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert report["made_from"]["prm"] == {"served": "f" * 64}
    assert report["prm"] == serving.url


def test_a_run_whose_service_went_away_goes_on_with_the_next(served, model, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(12))
    leaving = Leaving(model, after=20)
    with Serving(leaving) as serving:
        leaving.stop = serving.stop
        status, _, err = served(serving.url, "--chunk-solutions", 8, "--prm-wait-s", 0.5)
    assert status == 2
    assert err.count("\n") == 1
    assert f"rerank: --prm-url: {serving.url} gives no scores: " in err
    assert "the same command goes on from here" in err
    assert not (tmp_path / "out.jsonl").exists()

    with Serving(model, port=serving.port):
        assert served(serving.url, "--chunk-solutions", 8)[0] == 0
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert 2 <= report["chunks_taken_up"] < report["chunks"] == 6
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 12


def test_scores_of_another_prm_are_not_taken_up(served, model, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(6))
    leaving = Leaving(model, after=8)
    with Serving(leaving, identity="a" * 64) as serving:
        leaving.stop = serving.stop
        assert served(serving.url, "--chunk-solutions", 4, "--prm-wait-s", 0.3)[0] == 2
    with Serving(model, identity="b" * 64, port=serving.port):
        assert served(serving.url, "--chunk-solutions", 4)[0] == 0
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert report["chunks_taken_up"] == 0


def test_a_service_that_becomes_another_prm_stops_the_run(served, model, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(6))
    with Serving(model, identity="a" * 64) as serving:
        from eduprm.serve import source as module

        first = module.score_served
        calls = []

        def then_another(*arguments, **options):
            calls.append(arguments)
            if len(calls) == 3:  # asked once who it is, one chunk scored
                serving.become("b" * 64)
            return first(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "score_served", then_another)
            status, _, err = served(serving.url, "--chunk-solutions", 4)
    assert status == 2
    assert "serves another PRM (identity bbbbbbbbbbbb, expected aaaaaaaaaaaa)" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--prm", "x"), ["--prm: expected nothing beside --prm-url"]),
        (("--dtype", "float32", "--batch-tokens", "9"), ["--batch-tokens, --dtype: expected nothing beside"]),
        (("--prm-wait-s", "0"), ["--prm-url: http://127.0.0.1:9 gives no scores", "python -m eduprm.serve"]),
    ],
)
def test_mistakes_get_one_line(served, tmp_path, arguments, parts):
    write_jsonl(tmp_path / "in.jsonl", problems(1))
    status, _, err = served("http://127.0.0.1:9", *arguments)
    assert status == 2
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
