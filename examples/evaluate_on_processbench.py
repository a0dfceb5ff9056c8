"""Judge a PRM on a file in ProcessBench's form: where is the first wrong step (-1: nowhere)?"""

import polars as pl

from eduprm.bench.steps import choose_threshold, evaluate_processbench, predict_first_wrong, read_processbench
from eduprm.prm import ProcessRewardModel

items = read_processbench(["tests/data/processbench_gsm8k_form.json"]).items  # "Qwen/ProcessBench": the hub's
prm = ProcessRewardModel.from_pretrained("smollm2-135m-steps-prm")
scores = prm.score_many(items.select("problem", "steps").rows())
threshold = choose_threshold(scores, items["label"].to_list())  # for a benchmark, on one of its subsets
items = items.with_columns(prediction=pl.Series(predict_first_wrong(scores, threshold.value)))
print(items.select("id", "label", "prediction"))
print(evaluate_processbench(items, seed=0).select("part", "acc_error", "acc_correct", "f1"))
