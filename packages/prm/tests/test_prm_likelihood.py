"""A PRM by likelihood: trained at forks, saved as a language model, scored as any server would."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from eduprm.prm import InputBuilder, ProcessRewardModel, TrainConfig, train_prm
from eduprm.prm.config import InputFormat, LoraSettings, Scoring
from eduprm.prm.data import TrainingData, labelled_trees
from eduprm.prm.published.load import load_step_scorer
from eduprm.prm.testing import byte_tokenizer, ragged_tree

PLAIN = InputFormat(kind="plain", template="{problem}=")
STEPS = ["2*3 = 6\n", "6*4 = 24\n", "#### 24"]


def config(**changes):
    default = {
        "losses": {"fork": 1.0, "language_model": 0.5},
        "scoring": Scoring(kind="likelihood"),
        "lora": LoraSettings(rank=4, alpha=8),
        "learning_rate": 5e-3,
        "epochs": 12,
        "batch_tokens": 256,
    }
    return TrainConfig(**default | changes)


def trees():
    return TrainingData([ragged_tree(seed, num_nodes=9) for seed in range(6)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("likelihood") / "prm"
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    return train_prm(backbone, trees(), builder, folder, config=config(), progress=False)


def token_logprobs(model, prompt, steps):
    """The plain computation: one causal row, the log-probs of each step's tokens."""
    ids = [*prompt, *(token for step in steps for token in step)]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    own = logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])][len(prompt) - 1 :]
    return torch.split(own, [len(step) for step in steps])


FOLDS = {"min": torch.min, "mean": torch.mean, "sum": torch.sum}


@pytest.mark.parametrize("fold", FOLDS)
def test_scores_are_the_language_models_own(trained, fold):
    scoring = Scoring(kind="likelihood", fold=fold)
    prm = ProcessRewardModel.from_pretrained(trained.folder, scoring=scoring)
    plain = AutoModelForCausalLM.from_pretrained(trained.folder).eval()
    prompt, steps = prm.builder.prompt_ids("2*3*4"), prm.builder.solution_ids(STEPS)
    expected = [FOLDS[fold](part).exp().item() for part in token_logprobs(plain, prompt, steps)]
    scores = prm.score("2*3*4", STEPS)
    assert scores == pytest.approx(expected, rel=1e-4)
    assert all(0 <= score <= 1 for score in scores)


def test_a_tree_scores_as_its_paths(trained):
    prm = ProcessRewardModel.from_pretrained(trained.folder, batch_tokens=40)  # cut into pieces on the way
    whole = ProcessRewardModel.from_pretrained(trained.folder)
    solutions = [("2*3*4", [*STEPS[:1], other, "#### 24"]) for other in ("6*4 = 24\n", "6*4 = 10\n", "oh ")]
    together = whole.score_many(solutions)
    assert prm.score_many(solutions) == [pytest.approx(scores, rel=1e-5) for scores in together]
    for (problem, steps), scores in zip(solutions, together, strict=True):
        assert whole.score(problem, steps) == pytest.approx(scores, rel=1e-5)


def test_the_folder_says_how_it_scores_and_loads_as_any_prm(trained):
    saved = json.loads((trained.folder / "config.json").read_text())
    assert saved["eduprm"]["scoring"] == {"kind": "likelihood", "fold": "min"}
    assert saved["architectures"] == ["LlamaForCausalLM"]
    ours = load_step_scorer(trained.folder).score("2*3*4", STEPS)
    assert ours == ProcessRewardModel.from_pretrained(trained.folder).score("2*3*4", STEPS)


def test_the_adapter_beside_it_gives_the_same_model(trained, backbone):
    from peft import PeftModel

    config = json.loads((trained.folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None  # not a path of this machine
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(backbone), trained.folder / "adapter"
    )
    merged = AutoModelForCausalLM.from_pretrained(trained.folder)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert (adapted(input_ids=ids).logits - merged(input_ids=ids).logits).abs().max() < 2e-2  # half precision


def test_training_learns_what_the_forks_prefer(tmp_path, backbone):
    """The share of forks whose best choice has the highest logit grows; the loss falls."""
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    trained = train_prm(
        backbone,
        trees(),
        builder,
        tmp_path / "prm",
        config=config(losses={"fork": 1.0}, epochs=40),
        progress=False,
    )

    def agreement(folder):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        hits = []
        for tree in trees().trees:
            for node in np.unique(tree.forks.nodes):
                own = tree.forks.nodes == node
                ids, at = [], int(node)
                while at >= 0:
                    ids = [*tree.token_ids[tree.starts[at] : tree.starts[at + 1]].tolist(), *ids]
                    at = int(tree.parents[at])
                ids = [*tree.token_ids[: tree.starts[0]].tolist(), *ids]
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1].detach().numpy()
                tokens, values = tree.forks.tokens[own], tree.forks.values[own]
                hits.append(values[logits[tokens].argmax()] == values.max())
        return np.mean(hits)

    assert agreement(trained.folder) > agreement(backbone) + 0.2
    assert trained.losses[-1][1] < trained.losses[0][1]


def test_head_and_forks_together_save_the_kind_that_scores(tmp_path, backbone):
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    losses = {"fork": 1.0, "cross_entropy": 1.0}
    result = train_prm(
        backbone,
        trees(),
        builder,
        tmp_path / "head",
        config=config(losses=losses, scoring=Scoring(), epochs=8),
        progress=False,
    )
    saved = json.loads((result.folder / "config.json").read_text())
    assert saved["architectures"] == ["LlamaForTokenClassification"]
    prm = ProcessRewardModel.from_pretrained(result.folder)
    tree = trees().trees[0]
    scores = prm.score_trees([tree])[0]
    assert np.ptp(scores) > 0.05  # the head has learned something, and it is in the folder
    assert np.corrcoef(scores, tree.targets)[0, 1] > 0.3


def test_a_scorer_that_no_loss_trains_is_refused(tmp_path, backbone):
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    with pytest.raises(ValueError, match="scoring by 'head' reads the head, which no loss of fork trains"):
        train_prm(
            backbone, trees(), builder, tmp_path / "prm",
            config=config(losses={"fork": 1.0}, scoring=Scoring()), progress=False,
        )  # fmt: skip


def test_an_unknown_loss_lists_the_names(tmp_path, backbone):
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    with pytest.raises(ValueError, match=r"expected one of .*cross_entropy, fork, .*language_model"):
        train_prm(
            backbone, trees(), builder, tmp_path / "prm", config=config(losses={"forks": 1.0}), progress=False
        )


def test_a_forest_is_scored_at_every_node(trained, make_forest):
    forest, problems = make_forest(
        [
            (
                "p",
                "edu",
                [(None, "2*3 = 6\n", None, 0.5, 2), (0, "#### 6", "stop", 1.0, 1), (0, "no", "stop", 0.0, 1)],
            )
        ]
    )
    prm = ProcessRewardModel.from_pretrained(trained.folder)
    scored = prm.score_forest(forest, problems)
    assert scored["score"].to_list()[:2] == pytest.approx(prm.score("p?", ["2*3 = 6\n", "#### 6"]), rel=1e-5)
    assert labelled_trees(forest, problems, prm.builder).trees[0].forks.nodes.tolist() == [0, 0]
