"""Entropy, in nats, of the distribution that each token of a text was taken from."""

from eduprm.search import PolicyTokenizer, load_policy, score_tokens

tokenizer = PolicyTokenizer("smollm2-135m-instruct")
prompt = tokenizer.encode_chat("What is 3 * 4 * 5?")
token_ids = tokenizer.encode("3 * 4 = 12, and 12 * 5 = 60.")

scores = score_tokens(load_policy("smollm2-135m-instruct"), prefix_ids=prompt, token_ids=token_ids)
for token, entropy, logprob in zip(token_ids, scores.entropies, scores.logprobs, strict=True):
    print(f"{tokenizer.decode([token])!r:8} entropy {entropy:.3f} nats, log-prob {logprob:.3f}")
