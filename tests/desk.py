"""Prove that the desk needs no torch: screen the example in the environment that runs this file.

`make desk` runs it in an environment that holds the base package alone.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TWINSCOPE = str(Path(sys.executable).with_name("twinscope"))
WORKSHOP = ("torch", "torchvision", "onnx", "onnxscript", "matplotlib", "pytest")


def run(*command: str) -> str:
    """Run a command and return what it printed; stop with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Check the environment, then each command of the desk."""
    present = [name for name in WORKSHOP if importlib.util.find_spec(name)]
    if present:
        sys.exit(f"this environment is not the desk alone: it holds {', '.join(present)}")
    run(TWINSCOPE, "--help")
    run(TWINSCOPE, "models", "verify")
    with tempfile.TemporaryDirectory() as folder:
        manuscript, case = Path(folder, "manuscript.pdf"), Path(folder, "case")
        run(sys.executable, str(ROOT / "examples" / "make.py"), str(manuscript))
        screening = json.loads(run(TWINSCOPE, "screen", str(manuscript), "-o", str(case), "--json"))
        if not (screening["findings"] and (case / "report.html").stat().st_size):
            sys.exit("the desk found nothing in the example manuscript, where re-use is planted")
        run(TWINSCOPE, "embed", str(case / "panels"), "-o", str(Path(folder, "vectors.parquet")))
        run(TWINSCOPE, "calibrate", str(case / "panels"), "-o", str(Path(folder, "calibration.json")))
    print(f"the desk works without torch: {len(screening['findings'])} findings in the example manuscript")


if __name__ == "__main__":
    main()
