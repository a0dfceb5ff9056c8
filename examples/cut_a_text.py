"""Cut a text into steps: at line breaks, and where a policy would have been unsure."""

from eduprm.search import PolicyTokenizer, TextCutter
from eduprm.segment import NEWLINE, split_text

text = "9 - 6 = 3\n3 + 7 = 10\n#### 10"
print("at line breaks:", split_text(text, NEWLINE))

policy = "smollm2-135m-instruct"
prompt = PolicyTokenizer(policy).encode_chat("What is 9 - 6 + 7?")
steps = TextCutter(policy, {"entropy": {"threshold": 1.0}}).steps(prompt, [text])[0]
assert "".join(steps) == text
print("above 1 nat:", steps)
