"""Heads with other outputs than wrong and right: BiRM's two, and an energy over values; from loss to score."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eduprm.prm import InputBuilder, ProcessRewardModel, TrainConfig, train_prm
from eduprm.prm.adapters import prepare_model
from eduprm.prm.config import InputFormat, LoraSettings, Scoring
from eduprm.prm.data import TrainingData
from eduprm.prm.losses import nce_plus
from eduprm.prm.losses.bidirectional import Loss as BidirectionalLoss
from eduprm.prm.model import head_output, packed_hidden, to_tensors
from eduprm.prm.packing import pack_rows
from eduprm.prm.scorers.bidirectional import Scorer as BidirectionalScorer
from eduprm.prm.scorers.nce_plus import GRID
from eduprm.prm.testing import byte_tokenizer, ragged_tree
from eduprm.prm.tree import build_tree

PLAIN = InputFormat(kind="plain", template="{problem}=")
STEPS = ["2*3 = 6\n", "6*4 = 24\n", "#### 24"]


def config(name, **changes):
    default = {
        "losses": {name: 1.0},
        "scoring": Scoring(kind=name),
        "lora": LoraSettings(rank=4, alpha=8),
        "learning_rate": 1e-2,
        "epochs": 12,
        "batch_tokens": 256,
    }
    return TrainConfig(**default | changes)


@pytest.fixture(scope="module", params=["bidirectional", "nce_plus"])
def trained(request, tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp(request.param) / "prm"
    data = TrainingData([ragged_tree(seed, num_nodes=9) for seed in range(6)])
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    result = train_prm(backbone, data, builder, folder, config=config(request.param), progress=False)
    return request.param, result


def untrained(backbone, name, **changes):
    """A model with a random head, in eval mode."""
    model = prepare_model(backbone, config(name, lora=None, **changes), trust_remote_code=False)
    with torch.no_grad():
        model.score.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(3))
    return model.eval()


def states(model, tree):
    """The plain computation: the head's output at the last token of each node, a causal row for each path."""
    found = []
    for node in range(len(tree.parents)):
        ids, at = [], node
        while at >= 0:
            ids = [*tree.token_ids[tree.starts[at] : tree.starts[at + 1]].tolist(), *ids]
            at = int(tree.parents[at])
        whole = torch.tensor([[*tree.token_ids[: tree.starts[0]].tolist(), *ids]])
        found.append(model(input_ids=whole).logits[0, -1].double())
    return found


def test_a_folder_says_its_outputs_and_scores_alone(trained):
    name, result = trained
    saved = json.loads((result.folder / "config.json").read_text())
    labels = {"bidirectional": ["outcome", "process"], "nce_plus": list(nce_plus.LABELS)}[name]
    assert list(saved["id2label"].values()) == labels
    assert saved["eduprm"]["scoring"]["kind"] == name
    assert result.losses[-1][1] < result.losses[0][1]
    prm = ProcessRewardModel.from_pretrained(result.folder)
    scores, targets = [], []
    for seed in range(6):
        tree = ragged_tree(seed, num_nodes=9)
        scores += prm.score_trees([tree])[0].tolist()
        targets += tree.targets.tolist()
    assert all(0 <= score <= 1 for score in scores)
    assert np.corrcoef(scores, targets)[0, 1] > 0.3


def test_trees_in_pieces_score_as_their_paths(trained):
    _, result = trained
    whole, cut = (ProcessRewardModel.from_pretrained(result.folder, batch_tokens=size) for size in (8192, 40))
    solutions = [("2*3*4", [*STEPS[:1], other, "#### 24"]) for other in ("6*4 = 24\n", "6*4 = 10\n", "oh ")]
    together = whole.score_many(solutions)
    assert cut.score_many(solutions) == [pytest.approx(scores, abs=1e-5) for scores in together]
    for (problem, steps), scores in zip(solutions, together, strict=True):
        assert whole.score(problem, steps) == pytest.approx(scores, abs=1e-5)


def test_another_scorer_does_not_read_them(trained):
    name, result = trained
    other = {"bidirectional": "nce_plus", "nce_plus": "bidirectional"}[name]
    with pytest.raises(ValueError, match="expected a head with the labels"):
        ProcessRewardModel.from_pretrained(result.folder, scoring=Scoring(kind=other))


def test_losses_of_other_outputs_do_not_share_a_head(backbone):
    with pytest.raises(
        ValueError, match=r"agree on the outputs .* cross_entropy: wrong, right; nce_plus: value 0"
    ):
        prepare_model(
            backbone,
            config("nce_plus", losses={"cross_entropy": 1.0, "nce_plus": 1.0}),
            trust_remote_code=False,
        )


def test_a_head_beside_a_language_model_keeps_its_outputs(backbone, tmp_path):
    data = TrainingData([ragged_tree(seed, num_nodes=9) for seed in range(2)])
    losses = {"nce_plus": 1.0, "language_model": 0.5}
    result = train_prm(
        backbone, data, InputBuilder(byte_tokenizer(), PLAIN), tmp_path / "prm",
        config=config("nce_plus", losses=losses, epochs=2), progress=False,
    )  # fmt: skip
    assert len(ProcessRewardModel.from_pretrained(result.folder).score("2*3*4", STEPS)) == 3


# ---- BiRM


def test_bidirectional_by_hand():
    """Outputs 3 and 5 everywhere; values .5 (can be right) and 0: (2.5^2 + 4^2) + 2 (3^2 + 5^2)."""
    tree = build_tree([9], [[1], [2]], [-1, 0], targets=[0.5, 0.0], weights=[1, 2])
    batch = to_tensors(pack_rows([tree], [[0]], pad_id=0))
    head = torch.nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0], [5.0]]))
    total = BidirectionalLoss().total(torch.ones(1, 3, 1), head, batch)
    assert total.item() == pytest.approx(2.5**2 + 4**2 + 2 * (9 + 25))
    assert BidirectionalLoss().weight(batch).item() == 3.0


def test_bidirectional_loss_equals_path_by_path(backbone):
    model, trees = untrained(backbone, "bidirectional"), [ragged_tree(seed, num_nodes=9) for seed in (1, 4)]
    batch = to_tensors(pack_rows(trees, [[0, 1]], pad_id=0))
    ours = BidirectionalLoss().total(packed_hidden(model, batch), head_output(model), batch)
    plain = 0.0
    for tree in trees:
        for state, value, weight in zip(states(model, tree), tree.targets, tree.weights, strict=True):
            plain += weight * ((state[0] - value) ** 2 + (state[1] - (value > 0)) ** 2).item()
    assert ours.item() == pytest.approx(plain, rel=1e-5)


def test_bidirectional_scores_by_hand():
    """Two children of one step: outcome there, and the mean of process over the two steps on each path."""
    values = np.array([[9.0, 9.0], [0.5, 1.0], [0.75, 0.0], [0.25, -3.0]])
    scores = BidirectionalScorer().fold(values, np.array([0, 0, 1, 2]), parents=np.array([-1, 0, 0]))
    assert scores.tolist() == pytest.approx([0.75, (0.75 + 0.5) / 2, 0.0])


# ---- energy over values


def test_the_noise_is_a_density_and_its_draws_follow_it():
    targets = torch.tensor([0.0, 0.3, 1.0])
    values, log_noise = nce_plus.drawn(targets, seed=1)
    assert values.shape == log_noise.shape == (3, nce_plus.DRAWS + 1)
    assert ((values >= 0) & (values <= 1)).all()
    assert ((values[:, 0] - targets).abs() < 0.1).all()  # nu is small
    again, _ = nce_plus.drawn(targets, seed=1)
    other, _ = nce_plus.drawn(targets, seed=2)
    assert torch.equal(values, again)
    assert not torch.equal(values, other)
    grid = torch.linspace(0, 1, 4001, dtype=torch.float64)[None].expand(3, -1)
    spreads = torch.tensor(nce_plus.SPREADS, dtype=torch.float64)
    density = nce_plus._log_density(grid, targets.double()[:, None], spreads).exp()
    assert torch.trapezoid(density, grid).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    mean = torch.trapezoid(density * grid, grid)
    many = torch.cat([nce_plus.drawn(targets, seed=seed)[0][:, 1:] for seed in range(60)], dim=1)
    assert many.mean(1).tolist() == pytest.approx(mean.tolist(), abs=0.02)


@given(
    st.lists(st.floats(-5, 5), min_size=11, max_size=11), st.lists(st.floats(0, 1), min_size=1, max_size=9)
)
def test_interpolation_is_numpys(knots, values):
    ours = nce_plus.interpolated(*(torch.tensor([part], dtype=torch.float64) for part in (knots, values)))
    assert ours[0].tolist() == pytest.approx(
        np.interp(values, np.linspace(0, 1, 11), knots).tolist(), abs=1e-9
    )


def test_nce_plus_loss_equals_path_by_path(backbone):
    """The same draws, but the model path by path and the contrast term by term."""
    model, trees = untrained(backbone, "nce_plus"), [ragged_tree(seed, num_nodes=9) for seed in (1, 4)]
    batch = to_tensors(pack_rows(trees, [[0, 1]], pad_id=0))
    ours = nce_plus.Loss().total(packed_hidden(model, batch), head_output(model), batch)
    values, log_noise = nce_plus.drawn(batch["node_targets"], seed=nce_plus._seed(batch))
    plain, place = 0.0, 0
    for tree in trees:
        for state, weight in zip(states(model, tree), tree.weights, strict=True):
            score = np.interp(values[place].tolist(), np.linspace(0, 1, 11), state.tolist())
            terms = [math.exp(s - q) for s, q in zip(score, log_noise[place].tolist(), strict=True)]
            plain -= weight * math.log(terms[0] / sum(terms))
            place += 1
    assert ours.item() == pytest.approx(plain, rel=1e-4)


def test_an_energy_learns_a_distribution_with_two_peaks():
    """Fitted to labels that are 1 in three of four cases and else 0: mass at both ends, the mean near .75."""
    head = torch.nn.Linear(1, nce_plus.KNOTS, bias=False)
    torch.nn.init.zeros_(head.weight)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.1)
    count = 64
    batch = {
        "node_rows": torch.zeros(count, dtype=torch.int64),
        "node_columns": torch.zeros(count, dtype=torch.int64),
        "node_targets": (torch.arange(count) % 4 > 0).float(),
        "node_weights": torch.ones(count),
    }
    for step in range(200):
        batch["input_ids"] = torch.tensor([[step]])
        loss = nce_plus.Loss().total(torch.ones(1, 1, 1), head, batch) / count
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    knots = head.weight.detach().double().T
    found = torch.softmax(nce_plus.interpolated(knots, GRID[None]), dim=-1)[0]
    assert (found @ GRID).item() == pytest.approx(0.75, abs=0.05)
    assert found[:10].sum() > 0.15
    assert found[10:91].sum() < 0.15


def test_a_step_head_scores_as_a_head_and_judges_a_solution_by_its_least_step(backbone):
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    model = untrained(backbone, "cross_entropy", scoring=Scoring(kind="head"))
    found = {
        kind: ProcessRewardModel(model, builder, scoring=Scoring(kind=kind)).score("2*3*4", STEPS)
        for kind in ("head", "step_head")
    }
    assert found["step_head"] == found["head"]
    assert len(set(found["head"])) == 3
    assert (Scoring(kind="head").solution, Scoring(kind="step_head").solution) == ("last", "min")
