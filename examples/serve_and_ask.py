"""Put a PRM behind HTTP and score two solutions with the client, which loads no torch."""

import subprocess
import sys

from eduprm.serve import Solution, score_served

command = [sys.executable, "-m", "eduprm.serve", "--prm", "smollm2-135m-steps-prm", "--port", "8399"]
steps = ["2 * 3 = 6\n", "6 * 4 = 24\n"]
with subprocess.Popen(command) as service:
    try:  # the client waits for a service that is starting
        ask = [Solution(problem="2 * 3 * 4?", steps=[*steps, end]) for end in ("#### 24", "#### 25")]
        info, results = score_served("http://127.0.0.1:8399", ask)
        print(info.name, [result.scores for result in results])
    finally:
        service.terminate()
