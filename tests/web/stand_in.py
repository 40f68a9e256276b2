"""Play a job without screening: what is played is in the first file's name. Needs nothing but the standard library."""

import json
import os
import signal
import subprocess
import sys
import threading
import time


def say(**told: object) -> None:
    """Tell one line."""
    print(json.dumps(told), flush=True)


asked = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os.killpg(0, signal.SIGKILL)), daemon=True).start()
play = asked["files"][0]
case = sys.argv[1]
with open(os.path.join(case, "cache", "began"), "a") as file:
    file.write(f"{os.getpid()}\n")
if "slow" in play:
    if "deaf" in play:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = "import os, sys, time; os.setsid(); print(1, flush=True); time.sleep(600)"
    below = subprocess.Popen([sys.executable, "-S", "-c", child], stdout=subprocess.PIPE)
    assert below.stdout is not None
    below.stdout.readline()
    for step in range(6000):
        say(stage="compare", done=step, total=6000)
        time.sleep(0.1)
if "dies" in play:
    os.kill(os.getpid(), signal.SIGKILL)
if "raises" in play:
    raise ValueError("it is the wrong colour")
if "fails" in play:
    say(failed="the paper cannot be screened on a Sunday")
    sys.exit(4)
if "mute" in play:
    sys.exit(0)
if "torn" in play:
    print('{"stage": "read", "do', flush=True)
for step in range(3):
    say(stage="read", done=step + 1, total=3)
with open(os.path.join(case, "screening.json"), "w") as file:
    json.dump({"findings": [1, 2]}, file)
say(findings=2)
