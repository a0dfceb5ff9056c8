"""Score the steps of two solutions with the PRM that ships; it reads solutions of the policy that ships."""

from eduprm.prm import ProcessRewardModel

prm = ProcessRewardModel.from_pretrained("smollm2-135m-steps-prm")
problem = "State the final answer to the following arithmetic problem: 9 - 6 + 7 + 9 - 8 + 0 - 3 ="
for third in ("10 + 9 = 19\n", "10 + 9 = 18\n"):
    steps = ["9 - 6 = 3\n", "3 + 7 = 10\n", third]
    for step, score in zip(steps, prm.score(problem, steps, complete=False), strict=True):
        print(f"{score:.4f} {step!r}")
