"""Scores of a real PRM at the nodes of labelled trees, and settings of a filter's judge that do not go together."""

import polars as pl
import pytest

from eduprm.core.command_line import UsageError
from eduprm.forest import NODE_SCHEMA
from eduprm.pipeline.label_judge import find_judge, score_nodes
from eduprm.pipeline.label_steps import ENDS
from eduprm.pipeline.run_folder import stage_settings
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.settings_parts import LabelSettings
from eduprm.prm import load_step_scorer
from eduprm.prm.testing import tiny_prm
from eduprm.serve.judge.settings import JudgeSettings

ASKED = {"filter": "consensus", "filter_options": {"judge": "scores"}}
LONG = "9 " * 60
# node: parent, text, weight, finish, whether a step ends there. 1 ends none: its text begins the steps of 2 and 3; 3
# ends one without a label. 4 is blank; 6 is long; 7 is no training data.
NODES = [
    (None, "1 + 2 = 3\n", 1.0, None, True),
    (0, "3 +", 0.0, None, False),
    (1, " 4 = 7\n", 1.0, "stop", True),
    (1, " 4 = 8\n", 0.0, None, True),
    (3, "\n", 1.0, None, True),
    (4, "#### 8", 1.0, "length", True),
    (4, LONG, 1.0, "stop", True),
    (4, "#### 9", 0.0, "stop", True),
]
PATHS = {
    2: (["1 + 2 = 3\n", "3 + 4 = 7\n"], [[0], [2]], True),
    5: (["1 + 2 = 3\n", "3 + 4 = 8\n\n", "#### 8"], [[0], [3, 4], [5]], False),
}


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return load_step_scorer(tiny_prm(tmp_path_factory.mktemp("prm") / "prm", max_position_embeddings=64))


def trees():
    rows = [
        ("p", "edu", node, above, [node], [-0.5], [0.5], text, finish)
        for node, (above, text, _, finish, _) in enumerate(NODES)
    ]
    weights = pl.Series("weight", [weight for *_, weight, _, _ in NODES])
    ends = pl.Series(ENDS, [ends for *_, ends in NODES])
    return pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row").with_columns(weights, ends)


def test_each_step_has_its_score_at_the_node_where_it_ends(scorer):
    problems = pl.DataFrame({"problem_id": ["p"], "question": ["1 + 2 + 4?"]})
    found = score_nodes(trees(), problems, scorer)
    assert (found.unscored, found.solutions) == (1, 3)
    assert "the PRM's context holds 64" in found.reason
    scores = found.trees["judge_score"].to_list()
    # No step ends there; the solution is too long; it has no label.
    assert [scores[1], scores[6], scores[7]] == [None] * 3
    for steps, rows, ended in PATHS.values():
        (expected,) = scorer.score_steps([("1 + 2 + 4?", steps)], complete=ended, as_cut=True)
        for nodes, score in zip(rows, expected.scores, strict=True):
            assert [scores[node] for node in nodes] == [pytest.approx(score, abs=1e-5)] * len(nodes)
    assert found.trees.drop("judge_score").equals(trees())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ASKED, "--label.judge-prm: expected the PRM whose scores judge"),
        ({"judge_prm": "some"}, "--label.judge-prm some: expected --label.filter consensus"),
        ({"filter": "consensus", "judge_prm": "some"}, "expected --label.filter consensus"),
        ({"judge_dtype": "float32"}, "--label.judge-dtype: expected --label.judge-prm beside it"),
        (
            ASKED | {"judge_prm": "some", "judge": JudgeSettings(samples=1)},
            "--label.judge: expected --label.judge-prm judge beside it",
        ),
    ],
)
def test_what_does_not_go_together_is_said(settings, words):
    with pytest.raises(ValueError, match=words):
        LabelSettings(**settings)


def run_settings(**label):
    return TrainSettings(_cli_parse_args=[], label=LabelSettings(**ASKED, **label))


def test_a_judge_that_is_not_there_is_said_with_the_flags_of_this_app():
    with pytest.raises(UsageError, match=r"--label\.judge-prm") as missing:
        find_judge(run_settings(judge_prm="/nowhere/prm"))
    assert "--prm" not in str(missing.value)
    with pytest.raises(UsageError, match=r"^--label\.judge\.key-env: expected --label\.judge\.url"):
        find_judge(run_settings(judge_prm="judge", judge=JudgeSettings(key_env="A_KEY")))


def test_what_the_scores_depend_on_is_in_the_key_of_the_stage(tmp_path):
    def key(**label):
        return stage_settings(run_settings(**label))["label"]

    def judge(**settings):
        return key(judge_prm="judge", judge=JudgeSettings(**settings))

    assert judge() != judge(samples=1)
    assert judge() != judge(url="http://h:1")
    assert judge(url="http://h:1") == judge(
        url="http://g:2", key_env="A", limit_s=5, wait_s=1, max_requests=2
    )
    plain = stage_settings(TrainSettings(_cli_parse_args=[]))["label"]
    assert not any(name.startswith("label.judge.") for name in plain)
    folder = tmp_path / "prm"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    before = key(judge_prm=str(folder))
    (folder / "config.json").write_text('{"a": 1}')
    assert key(judge_prm=str(folder)) != before
