"""Judge a PRM on rows of ProcessBench's form: where is the first wrong step (-1: nowhere)?"""

import polars as pl

from eduprm.bench.steps import choose_threshold, evaluate_processbench, predict_first_wrong
from eduprm.prm import ProcessRewardModel
from eduprm.search import resolve_model

PROBLEM = "State the final answer to the following arithmetic problem: 9 - 6 + 7 + 9 ="
RIGHT = ["9 - 6 = 3\n", "3 + 7 = 10\n", "10 + 9 = 19\n", "#### 19"]
rows = [
    (RIGHT, -1),
    (["9 - 6 = 4\n", "4 + 7 = 11\n", "11 + 9 = 20\n", "#### 20"], 0),
    ([*RIGHT[:2], "10 + 9 = 18\n", "#### 18"], 2),
]
prm = ProcessRewardModel.from_pretrained(resolve_model("smollm2-135m-steps-prm"))
scores, labels = [prm.score(PROBLEM, steps) for steps, _ in rows], [label for _, label in rows]
threshold = choose_threshold(scores, labels)  # for a benchmark, on a subset of its own
predictions = predict_first_wrong(scores, threshold.value)
print(f"threshold {threshold.value:.3f}, predictions {predictions}, labels {labels}")
columns = {"part": "sums", "problem": [f"{PROBLEM} ({n})" for n in range(3)]}
frame = pl.DataFrame({**columns, "label": labels, "prediction": predictions})
print(evaluate_processbench(frame, seed=0).select("part", "acc_error", "acc_correct", "f1"))
