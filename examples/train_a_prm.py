"""Train a PRM on a data set in TRL's stepwise-supervision format: prompt, completions, labels."""

from tempfile import mkdtemp

import polars as pl

from eduprm.prm import InputBuilder, InputFormat, ProcessRewardModel, TrainConfig, stepwise_trees, train_prm
from eduprm.prm.testing import tiny_backbone

rows = pl.read_ndjson("tests/data/stepwise_form.jsonl")  # or a data set of `datasets`: any iterable of rows
# Random weights: put the name or folder of a language model here.
backbone = tiny_backbone(mkdtemp(), max_position_embeddings=1024)
builder = InputBuilder.from_pretrained(backbone, InputFormat.stepwise())
data = stepwise_trees(rows, builder)
result = train_prm(backbone, data, builder, f"{mkdtemp()}/prm", config=TrainConfig(epochs=2, lora=None))
print(f"{result.data['labels']} labels, last loss {result.losses[-1][1]:.3f}: {result.folder}")
prm = ProcessRewardModel.from_pretrained(result.folder)
print(prm.score("3 * 4 + 1?", ["3 * 4 = 12", "12 + 1 = 13"]))
