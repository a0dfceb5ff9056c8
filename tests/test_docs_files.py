"""docs/files.md: each command, run as it stands there on a small file of the shape it is for."""

import json
import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eduprm.rank.testing import read_jsonl, rejected, write_jsonl

ROOT = Path(__file__).resolve().parents[1]


GOOD, BAD = "3*4=12\n#### 12", "3*4=9\n#### 9"
COMMANDS = {
    line.split()[3]: shlex.split(line)[3:]
    for line in re.findall(r"^    (uv run apps/rerank .*)$", (ROOT / "docs" / "files.md").read_text(), re.M)
}


def output_rows(name):
    path = Path("runs/rerank") / name
    rows = read_jsonl(path) if path.suffix == ".jsonl" else pq.read_table(path).to_pylist()
    return rows, path.with_name(path.name + ".rejected.jsonl")


def flags(row):
    return {one["index"]: one["correct"] for one in row["ranked"]}


def lm_eval(kind):
    gold = "3*4=<<3*4=12>>12\n#### 12"
    return {
        "doc_id": 0,
        "doc": {"question": "What is 3*4?", "answer": gold},
        "target": gold,
        "arguments": {"gen_args_0": {"arg_0": "Question: What is 3*4?\nAnswer:", "arg_1": {"until": ["\n"]}}},
        "resps": [[BAD, GOOD]],
        "filtered_resps": ["9"],
        "filter": kind,
        "metrics": ["exact_match"],
        "doc_hash": "a1",
        "exact_match": 0.0,
    }


def test_every_command_has_a_test():
    assert sorted(COMMANDS) == [
        "batch_output.jsonl",
        "bon_completions.jsonl",
        "details_gsm8k.parquet",
        "phase2_test.jsonl",
        "samples_gsm8k.jsonl",
        "stepwise.jsonl",
    ]


def test_lm_eval_harness(rerank, tmp_path):
    write_jsonl(tmp_path / "samples_gsm8k.jsonl", [lm_eval("strict-match"), lm_eval("flexible-extract")])
    status, _, err = rerank(*COMMANDS["samples_gsm8k.jsonl"])
    assert (status, err) == (0, "rerank: 1 row left out by --where filter=strict-match\n")
    (row,), _ = output_rows("samples_gsm8k.ranked.jsonl")
    assert row["filter"] == "strict-match"
    assert flags(row) == {0: False, 1: True}


@pytest.mark.parametrize("names", [("__doc__", "__model_response__"), ("doc", "model_response")])
def test_lighteval(rerank, tmp_path, names):
    doc, response = names
    row = {
        doc: {
            "query": "Question: What is 3*4?\nAnswer:",
            "choices": [" 3*4=12\n#### 12"],
            "gold_index": [0],
            "id": "0",
            "task_name": "gsm8k|0",
            "specific": None,
        },
        response: {"input": "?", "text": [BAD, GOOD, GOOD], "output_tokens": [[1], [2], [3]], "logprobs": []},
        "__metric__": {"em": 0.0},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "details_gsm8k.parquet")
    command = [part.replace("__doc__", doc).replace("__model_response__", response) for part in
               COMMANDS["details_gsm8k.parquet"]]  # fmt: skip
    assert rerank(*command)[0] == 0
    (back,), _ = output_rows("details_gsm8k.ranked.parquet")
    assert flags(back) == {0: False, 1: True, 2: True}
    assert back[doc] == row[doc]


def test_openai_batch(rerank, tmp_path, prm):
    from eduprm.prm import ProcessRewardModel

    def ask(key, text):
        messages = [{"role": "system", "content": "Think."}, {"role": "user", "content": text}]
        return {
            "custom_id": key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": messages},
        }

    def answer(key, *texts):
        choices = [
            {"index": k, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for k, text in enumerate(texts)
        ]
        body = {"id": "chatcmpl-1", "object": "chat.completion", "choices": choices}
        return {
            "id": f"batch_req_{key}",
            "custom_id": key,
            "response": {"status_code": 200, "request_id": "r", "body": body},
            "error": None,
        }

    failed = {"id": "batch_req_c", "custom_id": "c", "response": None, "error": {"code": "batch_expired"}}
    write_jsonl(tmp_path / "batch_input.jsonl", [ask("a", "What is 3*4?"), ask("b", "2?"), ask("c", "3?")])
    write_jsonl(tmp_path / "batch_output.jsonl", [answer("b", "2", None), failed, answer("a", GOOD, BAD)])
    assert rerank(*COMMANDS["batch_output.jsonl"])[0] == 3
    (second, first), bad = output_rows("batch_output.ranked.jsonl")
    model = ProcessRewardModel.from_pretrained(prm)
    for one in first["ranked"]:
        assert "".join(one["steps"]) == (GOOD, BAD)[one["index"]]
        # With the problem of the other file, not with an id.
        assert one["step_scores"] == pytest.approx(model.score("What is 3*4?", one["steps"]), abs=1e-5)
    assert (second["custom_id"], [one["index"] for one in second["ranked"]]) == ("b", [0])
    assert [row[:3] for row in rejected(bad)] == [(1, "b", 1), (2, "c", None)]
    assert "'response' is null" in rejected(bad)[1][3]


def test_search_and_learn(rerank, tmp_path):
    row = {
        "unique_id": "test/algebra/1.json",
        "problem": "What is 3*4+2?",
        "solution": "Reference: \\boxed{14}",
        "answer": "14",
        "subject": "Algebra",
        "level": 1,
        "completions": ["## Step 1: a\n3*4=13\n\n\\boxed{15}", "## Step 1: a\n3*4=12\n\nIt is \\boxed{14}."],
        "scores": [[0.3, 0.2], [0.9, 0.8]],
        "pred": "\\boxed{14}",
        "completion_tokens": [20, 20],
    }
    write_jsonl(tmp_path / "bon_completions.jsonl", [row])
    assert rerank(*COMMANDS["bon_completions.jsonl"])[0] == 0
    (back,), _ = output_rows("bon_completions.ranked.jsonl")
    assert flags(back) == {0: False, 1: True}
    assert {key: back[key] for key in row} == row


def test_trl_stepwise(rerank, tmp_path):
    rows = [
        {"prompt": "What is 3*4+2?", "completions": ["3*4=12", "12+2=14"], "labels": [True, True]},
        {"prompt": "What is 3*4+2?", "completions": ["3*4=13\n", "13+2=15", "so 15"], "labels": [False] * 3},
    ]
    write_jsonl(tmp_path / "stepwise.jsonl", rows)
    status, _, err = rerank(*COMMANDS["stepwise.jsonl"])
    assert status == 0
    assert err == "rerank: steps of 2 solutions end in no white space: a line break was put between them\n"
    back, _ = output_rows("stepwise.ranked.jsonl")
    assert sorted(row["rank"] for row in back) == [1, 2]
    steps = {row["completions"][0]: row["steps"] for row in back}
    assert steps == {"3*4=12": ["3*4=12\n", "12+2=14"], "3*4=13\n": ["3*4=13\n", "13+2=15\n", "so 15"]}


def test_prm800k(rerank, tmp_path):
    def labelled(steps, answer, *, control=False):
        return {
            "labeler": "340d89bc",
            "timestamp": "2023-01-22T04:34:27.052924",
            "generation": 9,
            "is_quality_control_question": control,
            "is_initial_screening_question": False,
            "question": {
                "problem": "What is 3*4+2?",
                "ground_truth_solution": "It is \\boxed{14}.",
                "ground_truth_answer": "14",
                "pre_generated_steps": steps,
                "pre_generated_answer": answer,
                "pre_generated_verifier_score": 0.01,
            },
            "label": {
                "steps": [
                    {
                        "completions": [{"text": step, "rating": 1, "flagged": None}],
                        "human_completion": None,
                        "chosen_completion": 0,
                    }
                    for step in steps
                ],
                "total_time": 278270,
                "finish_reason": "solution",
            },
        }

    right, wrong = ["3*4=12", "12+2=14\n\n# Answer\n\n14"], ["3*4=13", "13+2=15\n\n# Answer\n\n15"]
    rows = [labelled(wrong, "15"), labelled(right, "14"), labelled(right, "14", control=True)]
    write_jsonl(tmp_path / "phase2_test.jsonl", rows)
    command = COMMANDS["phase2_test.jsonl"]
    assert rerank(*command)[0] == 0
    back, _ = output_rows("phase2_test.ranked.jsonl")
    assert sorted(row["steps"] for row in back) == [["3*4=12\n", right[1]], ["3*4=13\n", wrong[1]]]
    assert {row["rank"] for row in back} == {1, 2}
    report = json.loads(Path("runs/rerank/phase2_test.ranked.jsonl.report.json").read_text())
    assert report["left_out_by_where"] == 1
    # The other path that the page names takes the same steps here.
    phase1 = re.search(r"`--columns.steps '(label[^']*)'`", (ROOT / "docs" / "files.md").read_text())[1]
    command = [phase1 if part == "question.pre_generated_steps" else part for part in command]
    assert rerank(*command, "--output", "phase1.jsonl")[0] == 0
    assert [row["step_scores"] for row in read_jsonl(tmp_path / "phase1.jsonl")] == [
        row["step_scores"] for row in back
    ]
