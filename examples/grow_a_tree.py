"""Grow an EDU tree of a policy's solutions and print it. Prints the tokens that were decoded, too."""

import polars as pl

from eduprm.forest import print_tree, token_counts
from eduprm.problems import messages_for
from eduprm.search import Budget, EduSampling, PolicyTokenizer, TransformersEngine, grow_forest

policy = "smollm2-135m-steps"
tokenizer = PolicyTokenizer(policy)
prompt = tokenizer.encode_chat(messages_for("What is 9 - 6 + 7 + 9 - 8?", "steps"))
problems = pl.DataFrame({"problem_id": ["sum"], "prompt_token_ids": [prompt]})
strategy = EduSampling(threshold=0.1, budget=Budget(max_leaves=4, max_tokens_per_path=60))
engine = TransformersEngine.from_pretrained(policy)
forest = grow_forest(problems, strategies=[strategy], engine=engine, tokenizer=tokenizer).forest
print_tree(forest)
print(token_counts(forest))
