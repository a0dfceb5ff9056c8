"""What judges and calibrates reads a solution at all its steps, whatever these weigh in training."""

import polars as pl
import pytest

from eduprm.core.command_line import UsageError
from eduprm.forest import NODE_SCHEMA, leaf_paths
from eduprm.label import filter_rows, weigh_questions
from eduprm.pipeline.calibrating import step_outcomes
from eduprm.pipeline.judge import _step_scores
from eduprm.pipeline.label_steps import ENDS, step_ends
from eduprm.pipeline.label_trees import label_steps

# node: parent, text, score, whether a step ends with it. 2 and 4 are solutions; 1 ends in the midst of a step.
NODES = [
    (None, "2 + 3 = 5\n", 0.9, True),
    (0, "5 *", 0.8, False),
    (1, " 4 = 20\n", 0.7, True),
    (0, "5 + 4 = 9\n", 0.6, True),
    (3, "#### 9", 0.5, True),
]
STEPS = {2: [0.9, 0.7], 4: [0.9, 0.6, 0.5]}
ENDED = pl.Series([ends for *_, ends in NODES])
SCORES = pl.Series("score", [score for *_, score, _ in NODES])
GRADED = pl.DataFrame(
    {"problem_id": "p", "tree": "edu", "leaf": [2, 4], "answer": ["20", "9"], "correct": [True, False]},
    schema_overrides={"leaf": pl.Int32},
)


def labelled(**options):
    inner = {above for above, *_ in NODES}
    rows = [
        ("p", "edu", node, above, [node], [-0.5], [0.5], text, None if node in inner else "stop")
        for node, (above, text, *_) in enumerate(NODES)
    ]
    return label_steps(pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row"), ENDED, GRADED, **options)


def filtered():
    """The equations of solution 4 hold, and it is wrong all the same."""
    return filter_rows(labelled(), filter="consensus")


def undecided():
    alike = GRADED.with_columns(answer=pl.lit("20"))
    return weigh_questions(labelled(), alike, weights="east")


@pytest.mark.parametrize(
    ("trees", "weights"),
    [
        (labelled(), [2.0, 0.0, 1.0, 1.0, 1.0]),
        (labelled(rule="rollouts"), [1.0, 0.0, 1.0, 0.0, 0.0]),
        (labelled(rule="rollouts", node_weight="one"), [1.0, 0.0, 1.0, 0.0, 0.0]),
        (labelled(rule="epic"), [2.0, 0.0, 1.0, 1.0, 1.0]),
        (labelled(rule="relative_progress"), [2.0, 0.0, 1.0, 1.0, 1.0]),
        (filtered(), [1.0, 0.0, 1.0, 0.0, 0.0]),
        (undecided(), [0.0] * 5),
    ],
)
def test_steps_end_where_they_end_and_not_where_labels_weigh(trees, weights):
    assert trees["weight"].to_list() == weights
    scored = trees.with_columns(SCORES)
    assert step_ends(scored).to_list() == ENDED.to_list()
    paths = _step_scores(leaf_paths(scored), scored)
    assert dict(paths.select("leaf", "step_scores").iter_rows()) == STEPS
    outcomes = step_outcomes(scored, GRADED).select("score", "gold").rows()
    assert sorted(outcomes) == sorted(
        (score, leaf == 2) for leaf, scores in STEPS.items() for score in scores
    )


def test_labels_without_the_column_are_read_by_their_weights_or_refused():
    assert step_ends(labelled().drop(ENDS)).to_list() == ENDED.to_list()
    with pytest.raises(UsageError, match=r"a solution of p weighs 0: .* give --rerun label"):
        step_ends(labelled(rule="rollouts").drop(ENDS))
