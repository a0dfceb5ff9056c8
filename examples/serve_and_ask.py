"""Put a PRM behind HTTP and score two solutions with the client, which loads no torch."""

import subprocess
import sys
from tempfile import mkdtemp

from eduprm.prm.testing import tiny_prm
from eduprm.serve import Solution, score_served

folder = tiny_prm(f"{mkdtemp()}/prm")  # random weights: put the folder of a PRM here
command = [sys.executable, "-m", "eduprm.serve", "--prm", str(folder), "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
    try:
        line = service.stdout.readline()
        print(line.strip())
        url = line.split(" on ")[1].split(";")[0]
        solutions = [Solution(problem="2 * 3?", steps=["2 * 3 = 6\n", end]) for end in ("#### 6", "#### 7")]
        info, results = score_served(url, solutions)
        print(info.identity[:12], [result.scores for result in results])
    finally:
        service.terminate()
