"""A language model as a judge of steps: it writes a critique of each step before it says Yes or No.

After R-PRM (arXiv 2503.21295), ThinkPRM (arXiv 2504.16828) and GenPRM (arXiv 2504.00891): the score of a step is P(Yes)
averaged over K drawn critiques. `prompts` fills the templates, `local` and `remote` are the models, `scorer` asks them,
`source` is the judge where PRMs are named. Needs the extra `language-model`.
"""
