"""apps/rerank with --prm-server sglang: the ranks and scores of the PRM in this process, from a server's log-probs."""

import json

import pytest
import torch
from aiohttp import web

from eduprm.prm.config import InputFormat, Scoring
from eduprm.prm.loading import load_language_model
from eduprm.prm.prm_folder import folder_digest
from eduprm.prm.saving import save_prm
from eduprm.prm.testing import byte_tokenizer, tiny_backbone
from eduprm.rank.testing import problems, read_jsonl, rejected, write_jsonl
from eduprm.serve.testing import LanguageModelServing
from eduprm_rerank.cli import main


@pytest.fixture(scope="module")
def likelihood(tmp_path_factory):
    """Folder of a random PRM by likelihood, and its log-probs by the plain computation."""
    folder = tmp_path_factory.mktemp("likelihood")
    model = load_language_model(tiny_backbone(folder / "backbone"))
    save_prm(
        model,
        byte_tokenizer(),
        InputFormat(kind="plain", template="{problem}="),
        folder / "prm",
        dtype=torch.float32,
        notes={},
        scoring=Scoring(kind="likelihood"),
    )
    plain = load_language_model(folder / "prm").eval()

    def logprobs(ids):
        with torch.inference_mode():
            logits = plain(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].tolist()

    return folder / "prm", logprobs


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(folder, output, *arguments):
        flags = [
            "in.jsonl",
            "--prm",
            folder,
            "--output",
            output,
            "--bootstrap",
            "50",
            "--chunk-solutions",
            "8",
        ]
        status = main([*map(str, [*flags, *arguments])])
        return status, capsys.readouterr().err

    return call


def test_the_scores_are_those_of_the_prm_in_this_process(likelihood, run, tmp_path):
    folder, logprobs = likelihood
    rows = problems(5)
    rows[2]["solutions"][1] = "too long\n" + "x" * 300
    write_jsonl(tmp_path / "in.jsonl", rows)
    with LanguageModelServing(logprobs, model="/models/mine") as server:
        status, err = run(folder, "out.jsonl", "--prm-url", server.url, "--prm-server", "sglang")
    assert status == 3  # one rejected
    assert f"rerank: scores of {folder} come from /models/mine, which {server.url} runs\n" in err
    assert len(server.bodies) == 19
    assert run(folder, "local.jsonl")[0] == 3
    for ours, local in zip(
        read_jsonl(tmp_path / "out.jsonl"), read_jsonl(tmp_path / "local.jsonl"), strict=True
    ):
        assert ours["chosen"] == local["chosen"]
        for one, other in zip(ours["ranked"], local["ranked"], strict=True):
            assert one["steps"] == other["steps"]
            assert one["step_scores"] == pytest.approx(other["step_scores"], rel=1e-4, abs=0)
    for name in ("out", "local"):
        ((*where, reason),) = rejected(tmp_path / f"{name}.jsonl.rejected.jsonl")
        assert where == [3, "p2", 1]
        assert "the PRM's context holds 256" in reason
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert report["made_from"]["prm"] == {"folder": folder_digest(folder), "served": "/models/mine"}


def test_what_the_server_refuses_is_rejected_and_a_lost_server_keeps_what_was_ranked(
    likelihood, run, tmp_path
):
    folder, logprobs = likelihood
    write_jsonl(tmp_path / "in.jsonl", problems(6))
    flags = ("--prm-server", "sglang", "--prm-wait-s", "0.3")

    def gone(_, number):
        return web.Response(status=503) if number >= 12 else None

    with LanguageModelServing(logprobs, fault=gone) as server:
        status, err = run(folder, "out.jsonl", "--prm-url", server.url, *flags)
    assert status == 2
    assert "gives no scores: /generate answered 503" in err
    assert "the same command goes on from here" in err
    with LanguageModelServing(logprobs, context=30) as server:
        status, _ = run(folder, "out.jsonl", "--prm-url", server.url, *flags)
    assert status == 3  # what is left is too long for this one; the first chunk was ranked before
    assert len(server.bodies) == 16
    reasons = [reason for *_, reason in rejected(tmp_path / "out.jsonl.rejected.jsonl")]
    assert len(reasons) == 16
    assert all(
        reason.startswith("the server does not score it: /generate answered 400") for reason in reasons
    )
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prm-server", "sglang"), "--prm-server: expected --prm-url beside it"),
        (("--prm-adapter", "prm"), "--prm-adapter: expected --prm-server sglang beside it"),
        (
            ("--prm-server", "sglang", "--prm-url", "http://127.0.0.1:9", "--dtype", "float32"),
            "--dtype: expected nothing beside --prm-url",
        ),
        (
            ("--prm-server", "sglang", "--prm-url", "http://127.0.0.1:9", "--prm-wait-s", "0"),
            "--prm-url: http://127.0.0.1:9 gives no scores",
        ),
    ],
)
def test_mistakes_get_one_line(likelihood, run, tmp_path, arguments, message):
    write_jsonl(tmp_path / "in.jsonl", problems(1))
    status, err = run(likelihood[0], "out.jsonl", *arguments)
    assert (status, err.count("\n")) == (2, 1)
    assert message in err


def test_a_prm_with_a_head_is_refused(prm, likelihood, run, tmp_path):
    write_jsonl(tmp_path / "in.jsonl", problems(1))
    with LanguageModelServing(likelihood[1]) as server:
        status, err = run(prm, "out.jsonl", "--prm-url", server.url, "--prm-server", "sglang")
    assert (status, err.count("\n")) == (2, 1)
    assert "scores by 'head', which a language-model server does not give" in err


def test_rules_by_the_last_step_are_left_out_where_its_score_is_of_that_step_alone(
    likelihood, prm, run, tmp_path
):
    write_jsonl(tmp_path / "in.jsonl", problems(4))

    def table(folder, *arguments):
        status, err = run(folder, "out.jsonl", *arguments)
        assert status == 0
        report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
        return {row["rule"] for row in report["accuracies"]}, err

    alone, err = table(likelihood[0])
    assert "the last step's score says nothing of those before it: rules by it are left out" in err
    named, err = table(likelihood[0], "--aggregate", "last")
    assert "--aggregate min, mean or product fold over all" in err
    by_head, err = table(prm)
    assert "last step" not in err
    lasts = {rule for rule in by_head if "_last" in rule}
    assert {"prm_last", "hmr_prm_last"} <= lasts
    assert alone == by_head - lasts
    assert named == by_head
