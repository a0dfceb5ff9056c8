"""Trees, rows and masks by property: against brute force over ancestors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.prm.attention import check_backbone, dense_mask, flex_mask_function, tree_mask
from eduprm.prm.curricula.none import shuffled
from eduprm.prm.merging import merge_trees
from eduprm.prm.packing import choose_rows, fit_rows, group_by_length, pack_rows, plan_batches
from eduprm.prm.tree import build_tree
from eduprm.prm.tree_cuts import split_tree, truncate_tree
from eduprm.prm.unpacked import leaf_chains


@st.composite
def trees(draw):
    """Random preorder trees, several roots and empty nodes included."""
    count = draw(st.integers(1, 12))
    parents, path = [], []
    for node in range(count):
        path = path[: draw(st.integers(0, len(path)))]
        parents.append(path[-1] if path else -1)
        path.append(node)
    nodes = [draw(st.lists(st.integers(0, 99), max_size=4)) for _ in range(count)]
    prompt = draw(st.lists(st.integers(0, 99), min_size=1, max_size=5))
    weights = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    return build_tree(prompt, nodes, parents, targets=[0.5] * count, weights=weights)


def path_of(tree, node):
    path = []
    while node >= 0:
        path.append(node)
        node = int(tree.parents[node])
    return path[::-1]


def owners(tree):
    """Node of each token, -1 for the prompt."""
    return np.concatenate(
        [np.full(tree.starts[0], -1), np.repeat(np.arange(len(tree.parents)), tree.lengths)]
    )


def brute_mask(tree):
    owner = owners(tree)
    size = len(owner)
    sees = np.zeros((size, size), dtype=bool)
    for query in range(size):
        ancestors = {-1, *path_of(tree, int(owner[query]))}
        for key in range(query + 1):
            sees[query, key] = int(owner[key]) in ancestors
    return sees


@settings(max_examples=100, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=4), st.lists(st.integers(0, 2), max_size=2))
def test_merged_trees_hold_every_path_of_tokens_once(batch, prompt):
    batch = [
        build_tree(
            prompt,
            # Few token ids, so that paths meet.
            [tree.token_ids[a:b] % 3 for a, b in zip(tree.starts, tree.starts[1:], strict=False)],
            tree.parents,
        )
        for tree in batch
        if len(prompt) or tree.lengths.any()
    ]
    if not batch:
        return

    def paths(tree):
        before, found = tree.token_parents.tolist(), []
        for parent, token in zip(before, tree.token_ids.tolist(), strict=True):
            found.append((*(found[parent] if parent >= 0 else ()), token))
        return found

    merged, places = merge_trees(batch)
    whole = paths(merged)
    assert len(set(whole)) == len(whole)
    assert set(whole) == {path for tree in batch for path in paths(tree)}
    for tree, place in zip(batch, places, strict=True):
        assert [whole[index] for index in place] == paths(tree)
        assert merged.positions[place].tolist() == tree.positions.tolist()
    assert (merged.lengths > 0).all()


def test_trees_of_two_prompts_are_not_merged():
    with pytest.raises(ValueError, match="tree b: expected the prompt of tree a"):
        merge_trees([build_tree([1], [[2]], [-1], name="a"), build_tree([3], [[2]], [-1], name="b")])


@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_mask_is_ancestors_and_self_and_positions_count_the_path(tree):
    mask = dense_mask(torch.from_numpy(tree.stops.astype(np.int64))[None])[0, 0].numpy()
    assert (mask == brute_mask(tree)).all()
    assert (tree.positions == mask.sum(1) - 1).all()


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(trees(), min_size=1, max_size=5), capacity=st.integers(1, 60))
def test_packed_rows_never_mix_trees(batch, capacity):
    rows = fit_rows([tree.num_tokens for tree in batch], capacity)
    packed = pack_rows(batch, rows, pad_id=0)
    mask = dense_mask(torch.from_numpy(packed.stops))[:, 0].numpy()
    assert mask.diagonal(axis1=1, axis2=2).all()  # no row without a key: softmax stays finite, padding too
    for tree, (row, offset) in zip(batch, packed.slots, strict=True):
        span = slice(offset, offset + tree.num_tokens)
        assert (mask[row, span, span] == brute_mask(tree)).all()
        assert not np.delete(mask[row, span], np.r_[span], axis=1).any()
        assert (packed.input_ids[row, span] == tree.token_ids).all()
    own = [tree.lengths > 0 for tree in batch]
    nodes = packed.nodes
    assert (
        nodes.weights.tolist()
        == np.concatenate([tree.weights[has] for tree, has in zip(batch, own, strict=True)]).tolist()
    )
    lasts = [tree.token_ids[tree.last_tokens[has]] for tree, has in zip(batch, own, strict=True)]
    assert packed.input_ids[nodes.rows, nodes.columns].tolist() == np.concatenate(lasts).tolist()
    for node, parent in enumerate(nodes.parents.tolist()):
        if parent >= 0:  # an ancestor: its last token is seen by the node's
            assert nodes.rows[node] == nodes.rows[parent]
            assert mask[nodes.rows[node], nodes.columns[node], nodes.columns[parent]]


@settings(max_examples=60, deadline=None)
@given(tree=trees(), bound=st.integers(1, 40))
def test_split_pieces_hold_every_path_once_owned(tree, bound):
    pieces = split_tree(tree, bound)
    owned = np.concatenate([piece.rows[piece.owned] for piece in pieces])
    assert sorted(owned.tolist()) == list(range(len(tree.parents)))
    assert sum(piece.weights.sum() for piece in pieces) == tree.weights.sum()
    for piece in pieces:
        for leaf in piece.leaves:
            ours = [piece.rows[node] for node in path_of(piece, int(leaf))]
            assert ours == path_of(tree, int(piece.rows[leaf]))
        longest = int(piece.end_positions.max())
        assert piece.num_tokens <= max(bound, longest)


@settings(max_examples=60, deadline=None)
@given(tree=trees(), bound=st.integers(1, 20))
def test_truncation_drops_exactly_what_does_not_fit(tree, bound):
    cut = truncate_tree(tree, bound)
    assert cut.rows.tolist() == np.flatnonzero(tree.end_positions <= bound).tolist()
    assert (cut.weights == tree.weights[cut.rows]).all()


@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_chains_are_the_leaf_paths(tree):
    chains = leaf_chains(tree)
    assert [chain.rows.tolist() for chain in chains] == [path_of(tree, int(leaf)) for leaf in tree.leaves]
    assert sum(chain.num_tokens for chain in chains) == tree.path_tokens
    assert sum(chain.weights.sum() for chain in chains) == pytest.approx(tree.weights.sum())
    for chain in chains:
        assert (dense_mask(torch.from_numpy(chain.stops.astype(np.int64))[None])[0, 0].sum(1).numpy()
                == np.arange(1, chain.num_tokens + 1)).all()  # fmt: skip


@pytest.mark.parametrize("parents", [[-1, 0, 0, 1], [-1, 1], [0], [-2]])
def test_orders_that_are_not_preorder_are_refused(parents):
    with pytest.raises(ValueError, match=r"preorder|parent before"):
        build_tree([1], [[2]] * len(parents), parents)


def test_chains_with_padding_need_no_mask():
    chains = [build_tree([1, 2], [[3] * n], [-1]) for n in (1, 5, 3)]
    packed = pack_rows(chains, [[0], [1], [2]], pad_id=0)
    assert tree_mask(torch.from_numpy(packed.stops), implementation="sdpa") is None
    assert (np.diff(packed.position_ids) == 1).all()


def test_flex_mask_function_and_block_mask_equal_the_dense_mask():
    from torch.nn.attention.flex_attention import create_mask

    tree = build_tree([1, 2], [[3], [4, 5], [6], [7]], [-1, 0, 1, 0])
    stops = torch.from_numpy(pack_rows([tree, tree], [[0], [1]], pad_id=0).stops)
    length = stops.shape[1]
    flex = create_mask(flex_mask_function(stops), 2, 1, length, length, device="cpu")
    assert torch.equal(flex.bool(), dense_mask(stops))
    block = tree_mask(stops, implementation="flex_attention")
    assert block.shape[-2:] == (length, length)


def test_unknown_attention_is_refused():
    with pytest.raises(ValueError, match=r"expected attn_implementation in .*got 'flash_attention_2'"):
        tree_mask(torch.tensor([[2, 1]]), implementation="flash_attention_2")


@pytest.mark.parametrize(("window", "fails"), [(None, False), (64, False), (16, True)])
def test_sliding_windows_shorter_than_a_path_are_refused(window, fails):
    from transformers import MistralConfig

    config = MistralConfig(sliding_window=window)
    if fails:
        with pytest.raises(ValueError, match=r"window of 16 tokens.*got 40"):
            check_backbone(config, longest=40)
    else:
        check_backbone(config, longest=40)


@pytest.mark.parametrize(
    "kind", ["Qwen3_5TextConfig", "Qwen3NextConfig", "Mamba2Config", "Lfm2Config", "RwkvConfig"]
)
def test_recurrent_layers_are_refused_by_a_name_that_helps(kind):
    import transformers

    more = (
        {"full_attn_idxs": [2]} if kind == "Lfm2Config" else {}
    )  # as its checkpoints say; by default all layers are
    config = getattr(transformers, kind)(num_hidden_layers=4, **more)
    with pytest.raises(
        ValueError, match=r"expected full or sliding attention layers, .*package tree-recurrence"
    ):
        check_backbone(config, longest=4)


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    tokens=st.integers(1, 120),
    most=st.none() | st.integers(1, 4),
)
def test_plans_hold_every_tree_once_per_epoch_within_bounds(lengths, tokens, most):
    orders = shuffled(len(lengths), epochs=3, seed=5)
    plan = plan_batches(lengths, batch_tokens=tokens, batch_trees=most, orders=orders)
    flat = [item for batch in plan for item in batch]
    for epoch in range(3):
        part = flat[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or sum(lengths[item] for item in batch) <= tokens
        assert most is None or len(batch) <= most
    assert orders == shuffled(len(lengths), epochs=3, seed=5)
    grouped = group_by_length(lengths, batch_tokens=tokens)
    assert sorted(item for batch in grouped for item in batch) == list(range(len(lengths)))


def test_neighbouring_seeds_give_unrelated_orders():
    orders = {tuple(shuffled(50, epochs=1, seed=seed)[0]) for seed in range(5)}
    assert len(orders) == 5


def test_rows_waste_little():
    rng = np.random.default_rng(0)
    lengths = rng.integers(60, 160, size=40).tolist()
    rows = choose_rows(lengths)
    width = max(sum(lengths[item] for item in row) for row in rows)
    assert sum(lengths) / (len(rows) * width) > 0.9
    assert width < 512


def test_settings_import_without_torch():
    code = (
        "import sys, eduprm.prm.config as config; config.TrainConfig(); import eduprm.prm;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
