"""Label a tree: grade the answers at its leaves, value every node by the share of right leaves below it."""

import polars as pl

from eduprm.forest import NODE_SCHEMA, leaf_paths, print_tree
from eduprm.label import NumberGrader, grade_leaves, label_forest

nodes = [  # problem_id, tree, node_id, parent_id, token_ids, logprobs, entropies, text, finish
    ["p", "edu", 0, None, [5, 6], [-0.1, -0.2], [0.2, 0.4], "2 * 3 =", None],
    ["p", "edu", 1, 0, [7, 8], [-0.3, -0.1], [1.5, 0.1], " 6\n#### 6", "stop"],
    ["p", "edu", 2, 0, [9, 8], [-1.3, -0.1], [1.5, 0.1], " 7\n#### 7", "stop"],
]
forest = pl.DataFrame(nodes, schema=NODE_SCHEMA, orient="row")
problems = pl.DataFrame({"problem_id": ["p"], "question": ["What is 2 * 3?"], "answer": ["6"]})
graded = grade_leaves(leaf_paths(forest), problems, NumberGrader())
labelled = label_forest(forest, graded)
print_tree(labelled)
print(labelled.select("node_id", "leaves", "correct", "value", "label", "weight"))
