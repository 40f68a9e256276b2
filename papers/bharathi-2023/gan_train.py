"""Train the generators of the benchmark, one after the other, and draw from each at two lengths; it can be resumed.

PYTHONPATH=src python papers/bharathi-2023/gan_train.py [--shared ../shared] [--runs .cache/bharathi-2023]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import numpy as np
import torch
from gan_pictures import EACH, SIDE, Bytes, halves

from twinscope.train import dcgan, diffusion

SEEDS = (1, 2, 3)
LENGTHS = {"ddpm": (400, 1500, 4000), "dcgan": (400, 3000)}
"""Steps of the short and of the long training: looks at one run."""
DRAWN = 400


class Job(NamedTuple):
    """A generator to train: its kind, and the seed of its half."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """The folder of its run."""
        return f"{self.kind}-{self.seed}"


JOBS = [Job(kind, seed) for seed in SEEDS for kind in ("ddpm", "dcgan")]


def make(job: Job, images: Bytes, lengths: tuple[int, ...], drawn: int, folder: Path, threads: int) -> dict[str, Any]:
    """Train one generator and draw from it after each length: `folder`/drawn-<steps>.npy; return its record."""
    record = folder / "run.json"
    if record.is_file():
        told: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if told["lengths"] == list(lengths) and told["drawn"] == drawn:
            return told
    began = time.monotonic()
    module: Any = diffusion if job.kind == "ddpm" else dcgan
    plan = module.Plan(steps=lengths[-1], marks=lengths, seed=job.seed, threads=threads)
    state = module.train(images, plan, folder, _printer(job.name, lengths[-1]))
    missing = [steps for steps in lengths if not (folder / f"at-{steps}.pt").is_file()]
    if missing:  # a length that was asked for later: the same run, from its beginning
        module.train(images, plan, folder / "again", _printer(f"{job.name} again", missing[-1]), missing[-1])
    for steps in lengths:
        kept = folder / f"at-{steps}.pt"
        network = module.load(kept if kept.is_file() else folder / "again" / kept.name)
        if job.kind == "ddpm":
            made = diffusion.sample(network, drawn, images.shape[1], 100 + job.seed)
        else:
            made = dcgan.sample(network, drawn, 100 + job.seed)
        np.save(folder / f"drawn-{steps}.npy", made)
    told = {
        "name": job.name, "kind": job.kind, "seed": job.seed, "lengths": list(lengths), "drawn": drawn,
        "learned_from": len(images), "side_px": int(images.shape[1]), "loss": round(state["loss"], 4),
        "train_s": round(state["seconds"], 1), "wall_s": round(time.monotonic() - began, 1), "commit": commit(),
        "device": f"{platform.machine()} CPU, {threads} thread(s), torch {torch.__version__}",
        "plan": {k: v for k, v in plan._asdict().items() if k not in ("marks", "threads")},
    }  # fmt: skip
    record.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return told


def _printer(name: str, steps: int) -> Any:
    def tell(step: int, loss: float) -> None:
        if step % 500 == 0:
            print(f"{name}: {step} of {steps}, loss {loss:.4f}", flush=True)

    return tell


def commit() -> str:
    """Return the commit of the code, as far as git can tell."""
    asked = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=HERE)
    return asked.stdout.strip() or "unknown"


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared")
    parser.add_argument("--runs", type=Path, default=Path(".cache/bharathi-2023"))
    parser.add_argument("--each", type=int, default=EACH)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--drawn", type=int, default=DRAWN)
    parser.add_argument("--steps", type=float, default=1.0, help="share of the steps, to try it")
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    for job in JOBS:
        lengths = tuple(max(2, round(told.steps * n)) for n in LENGTHS[job.kind])
        images = halves(told.shared, job.seed, told.each, told.side).used
        done = make(job, images, lengths, told.drawn, told.runs / job.name, told.threads)
        print(f"{job.name}: {done['train_s']} s of training", flush=True)


if __name__ == "__main__":
    main()
