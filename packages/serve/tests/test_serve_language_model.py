"""A PRM by likelihood from a language-model server: the scores of the model in this process, or one clear line."""

import json

import pytest
import torch
from aiohttp import web
from transformers import AutoModelForCausalLM

from eduprm.core.retry import RetrySettings
from eduprm.prm import ProcessRewardModel
from eduprm.prm.calibration import fit_calibration, write_calibration
from eduprm.prm.config import InputFormat, Scoring
from eduprm.prm.loading import load_language_model
from eduprm.prm.saving import save_prm
from eduprm.prm.testing import byte_tokenizer, tiny_backbone
from eduprm.serve import ServedPrmError
from eduprm.serve.language_model import LanguageModelPrm, likelihood_fold, served_model
from eduprm.serve.testing import LanguageModelServing

QUICK = RetrySettings(first_wait_s=0.05, longest_wait_s=0.2, patience_s=0.6)
SOLUTIONS = [
    ("2*3*4", ["2*3 = 6\n", "6*4 = 24\n", "#### 24"]),
    ("2*3*4", ["2*3 = 6\n", "6*4 = 10\n", "#### 10"]),
    ("7-9", ["#### -2"]),
]


def save(folder, **scoring):
    tiny_backbone(folder / "backbone")
    save_prm(
        load_language_model(folder / "backbone"),
        byte_tokenizer(),
        InputFormat(kind="plain", template="{problem}="),
        folder / "prm",
        dtype=torch.float32,
        notes={},
        scoring=Scoring(kind="likelihood", **scoring),
    )
    return folder / "prm"


@pytest.fixture(scope="module")
def likelihood(tmp_path_factory):
    return save(tmp_path_factory.mktemp("likelihood"))


@pytest.fixture(scope="module")
def logprobs(likelihood):
    """The plain computation of the saved model, as a server would do it: one causal row."""
    model = AutoModelForCausalLM.from_pretrained(likelihood).eval()

    def compute(ids):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].tolist()

    return compute


def ids_of(builder):
    return [(builder.prompt_ids(problem), builder.solution_ids(steps)) for problem, steps in SOLUTIONS]


@pytest.mark.parametrize("fold", ["min", "mean", "sum"])
def test_the_scores_are_those_of_the_model_in_this_process(tmp_path, logprobs, fold):
    folder = save(tmp_path, fold=fold)
    if fold == "mean":  # a calibration of the folder goes with it
        fitted = fit_calibration("temperature", [0.9, 0.1], [0.75, 0.25])
        write_calibration(folder, "temperature", fitted, notes={})
    local = ProcessRewardModel.from_pretrained(folder)
    with LanguageModelServing(logprobs) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, folder)
        served = prm.score_ids(ids_of(prm.builder))
    expected = local.score_ids(ids_of(local.builder))
    assert served == [pytest.approx(scores, rel=1e-4, abs=0) for scores in expected]
    assert [len(scores) for scores in served] == [3, 3, 1]
    assert len({f"{score:.3g}" for scores in served for score in scores}) > 3
    assert prm.max_tokens == local.max_tokens


def test_the_weights_of_the_folder_are_not_read(tmp_path, logprobs):
    folder = save(tmp_path)
    (folder / "model.safetensors").unlink()
    with LanguageModelServing(logprobs) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, folder)
        assert all(0 < score < 1 for scores in prm.score_ids(ids_of(prm.builder)) for score in scores)


def test_what_is_sent(likelihood, logprobs):
    with LanguageModelServing(logprobs) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood)
        prm.score_ids([([5, 6], [[7], [8, 9]])])
    assert server.bodies == [
        {
            "input_ids": [5, 6, 7, 8, 9],
            "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
            "return_logprob": True,
            "logprob_start_len": 1,
        }
    ]


def test_an_adapter_is_asked_for_by_its_name(likelihood, logprobs):
    with LanguageModelServing(logprobs) as server:
        LanguageModelPrm.from_pretrained(server.url, likelihood, adapter="prm").score_ids([([5], [[7]])])
    assert [body["lora_path"] for body in server.bodies] == ["prm"]


@pytest.mark.parametrize("ids", [([], [[7]]), ([5, 6], [[7], []]), ([5, 6], [])])
def test_a_prompt_and_every_step_need_ids(likelihood, logprobs, ids):
    with LanguageModelServing(logprobs) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood)
        with pytest.raises(ValueError, match="solution 1: expected ids in the prompt and every step"):
            prm.score_ids([([5, 6], [[7]]), ids])
        assert not server.bodies


def test_no_more_requests_are_on_their_way_than_asked_for(likelihood, logprobs):
    with LanguageModelServing(logprobs) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood, max_requests=3)
        answers = prm.score_ids([([1], [[token]]) for token in range(30)])
    assert len(answers) == 30
    assert [body["input_ids"] for body in server.bodies[:3]] == [[1, 0], [1, 1], [1, 2]]
    assert 1 < server.most_in_flight <= 3


def test_a_solution_too_long_for_the_server_spoils_only_itself(likelihood, logprobs):
    with LanguageModelServing(logprobs, context=6) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood)
        short, long = prm.score_ids([([1], [[2]]), ([1], [[2] * 9])])
    assert len(short) == 1
    assert "/generate answered 400" in long
    assert "longer than the model's context length (6 tokens)" in long


def test_faults_that_pass_are_tried_again(likelihood, logprobs):
    def fault(_, number):
        return web.Response(status=503) if number < 2 else None

    with LanguageModelServing(logprobs, fault=fault) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood, retry=QUICK)
        assert len(prm.score_ids(ids_of(prm.builder))) == 3
        assert len(server.bodies) == 5


def entries(*pairs):
    return {"meta_info": {"input_token_logprobs": [[logprob, token, None] for logprob, token in pairs]}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (entries((None, 6), (-1.0, 8)), "gave the log-probs of 2 tokens that are not the 2 asked for"),
        (entries((None, 6)), "gave the log-probs of 1 tokens that are not the 2 asked for"),
        (entries((None, 6), (None, 7)), "something else than the log-probs of its input"),
        ({"meta_info": {}}, "something else than the log-probs of its input"),
        ("hello", "something else than the log-probs of its input"),
    ],
)
def test_answers_that_are_no_logprobs_are_errors(likelihood, logprobs, answer, message):
    with LanguageModelServing(logprobs, fault=lambda *_: web.json_response(answer)) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood, retry=QUICK)
        with pytest.raises(ServedPrmError, match=message):
            prm.score_ids([([5, 6], [[7]])])
        assert len(server.bodies) == 1


def test_rounding_puts_no_score_above_one(likelihood, logprobs):
    answer = entries((None, 6), (1e-6, 7))
    with LanguageModelServing(logprobs, fault=lambda *_: web.json_response(answer)) as server:
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood)
        assert prm.score_ids([([5, 6], [[7]])]) == [[1.0]]


def test_another_model_is_told_by_its_name(likelihood, logprobs):
    with LanguageModelServing(logprobs, model="/models/prm") as server:
        assert served_model(server.url) == "/models/prm"
        prm = LanguageModelPrm.from_pretrained(server.url, likelihood, model="/models/prm")
        assert prm.score_ids([([5], [[7]])])
        server.model = "/models/other"
        with pytest.raises(ServedPrmError, match="runs /models/other now, was /models/prm"):
            prm.score_ids([([5], [[7]])])


def test_nobody_there_is_one_line_after_the_patience():
    with pytest.raises(
        ServedPrmError, match=r"^http://127\.0\.0\.1:9 gives no scores: .* attempts in \d+ s\)$"
    ):
        served_model("http://127.0.0.1:9", retry=QUICK)
    with pytest.raises(ServedPrmError, match="expected the URL of a language-model server"):
        served_model("127.0.0.1:9")


def test_a_prm_with_a_head_is_refused(folder, likelihood, tmp_path):
    assert likelihood_fold(likelihood) == "min"
    with pytest.raises(ServedPrmError, match="scores by 'head', which a language-model server does not give"):
        likelihood_fold(folder)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ServedPrmError, match="does not say how it scores"):
        likelihood_fold(tmp_path)
