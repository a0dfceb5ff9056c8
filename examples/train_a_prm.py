"""Train a PRM on a data set in TRL's stepwise-supervision format: prompt, completions, labels."""

from tempfile import mkdtemp

from eduprm.prm import InputBuilder, InputFormat, ProcessRewardModel, TrainConfig, stepwise_trees, train_prm
from eduprm.prm.testing import tiny_backbone

rows = [
    {
        "prompt": f"{a} * {b}?",
        "completions": [f"{a} * {b}", f"= {a * b + wrong}"],
        "labels": [True, not wrong],
    }
    for a in range(2, 8)
    for b in range(2, 8)
    for wrong in (0, 1)
]
backbone = tiny_backbone(mkdtemp())  # random weights: put the name or folder of a language model here
builder = InputBuilder.from_pretrained(backbone, InputFormat.stepwise())
folder = f"{mkdtemp()}/prm"
config = TrainConfig(epochs=2, lora=None, learning_rate=1e-3)
result = train_prm(backbone, stepwise_trees(rows, builder), builder, folder, config=config, progress=False)
print(f"{len(rows)} rows, {result.tokens} tokens, last loss {result.losses[-1][1]:.3f}: {result.folder}")
print(ProcessRewardModel.from_pretrained(folder).score("3 * 4?", ["3 * 4\n", "= 12"]))
