"""Ask every method about every generator and write results/fingerprints.json; what was asked before is kept.

PYTHONPATH=src python papers/bharathi-2023/gan_score.py [--shared ../shared] [--runs .cache/bharathi-2023] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

import numpy as np
from gan_methods import METHODS, Case, pooled
from gan_pictures import EACH, SIDE, Halves, halves
from gan_stats import reliability, summaries
from gan_train import JOBS, SEEDS, commit

from twinscope import metrics
from twinscope.detect import explain, relatives


def asked(name: str, case: Case) -> dict[str, Any]:
    """Return the answer of a method as a row, from the folder of the case where it stands there."""
    kept = case.folder / f"{name}.json"
    if kept.is_file():
        told: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return told
    began = time.monotonic()
    answer = METHODS[name](case)
    row = {"method": name, "scores": [round(float(v), 4) for v in answer.scores], "border": answer.border,
           "wall_s": round(time.monotonic() - began, 1), **answer.more}  # fmt: skip
    case.folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(row), encoding="utf-8")
    return row


def rows(run: dict[str, Any], both: dict[str, Halves], told: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one generator: every length, every method.

    At its last length it is also asked of pairs that it never saw, neither half.
    """
    out = []
    asks = [(steps, True) for steps in run["lengths"]] + [(run["lengths"][-1], False)]
    for steps, saw in asks:
        key = name_of(run["seed"], saw)
        real = np.concatenate([both[key].used, both[key].unused])
        used = np.arange(len(real)) < len(both[key].used)
        place = told.runs / run["name"]
        folder = place / (f"asked-{steps}-{key}" + ("" if told.backbone == "embedder" else f"-{told.backbone}"))
        made = np.load(place / f"drawn-{steps}.npy")
        case = Case(real, used, made, folder, run["seed"], told.threads, told.backbone, told.weights)
        for name in METHODS:
            if told.kept and not (folder / f"{name}.json").is_file():
                continue
            row = asked(name, case)
            out.append(
                {"generator": run["kind"], "saw": saw, "seed": run["seed"], "pictures": key, "steps": steps, **row}
            )
            print(f"{run['name']} {steps} {key} {name}: {row['wall_s']} s", flush=True)
    return out


def name_of(seed: int, saw: bool) -> str:
    """Return what the pairs of a seed are called: those that its generators saw a half of, or those left over."""
    return str(seed) if saw else f"{seed}-control"


def eigen(both: dict[str, Halves], threads: int) -> dict[str, Any]:
    """Return the paper's eigenvalue analysis: the largest of each picture's maps, and whether it tells used ones."""
    out: dict[str, Any] = {"seeds": []}
    for key, one in both.items():
        values = [relatives.eigenvalues(np.stack([seen.maps_16 for seen in explain.look(list(part), threads=threads)]))
                  for part in (one.used, one.unused)]  # fmt: skip
        out["seeds"].append({
            "pictures": key, "auc": round(metrics.auc(-values[0], -values[1]), 4),
            "used_mean": round(float(values[0].mean()), 1), "unused_mean": round(float(values[1].mean()), 1),
        })  # fmt: skip
    features = np.concatenate([np.r_[pooled(one.used, threads), pooled(one.unused, threads)] for one in both.values()])
    out["squared_length_mean"] = round(float(relatives.eigenvalues(features.astype(np.float32)[:, :, None]).mean()), 1)
    return out


def main() -> None:
    """Parse the command line, ask and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared")
    parser.add_argument("--runs", type=Path, default=Path(".cache/bharathi-2023"))
    parser.add_argument("--json", type=Path, default=HERE / "results" / "fingerprints.json")
    parser.add_argument("--each", type=int, default=EACH)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--backbone", default="embedder", help="embedder, or a ResNet of torchvision such as resnet101")
    parser.add_argument("--weights", help="a file of its weights, or imagenet for those in torch's folder of downloads")
    parser.add_argument("--kept", action="store_true", help="ask nothing more: write what was asked before")
    parser.add_argument("--only", nargs="*", help="names of generators, such as ddpm-1, if not all of them")
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    both = {name_of(seed, saw): halves(told.shared, seed, told.each, told.side, control=not saw)
            for seed in SEEDS for saw in (True, False)}  # fmt: skip
    records = [told.runs / job.name / "run.json" for job in JOBS if told.only is None or job.name in told.only]
    generators = [json.loads(path.read_text(encoding="utf-8")) for path in records if path.is_file()]
    if not generators:
        sys.exit(f"there is no generator in {told.runs}; run gan_train.py first")
    found = [row for run in generators for row in rows(run, both, told)]
    files = {key: [*one.used_names, *one.unused_names] for key, one in both.items()}
    seen = [row for row in found if row["saw"]]
    result = {
        "commit": commit(), "side_px": told.side, "each": told.each, "backbone": told.backbone,
        "data_sha256": {key: one.sha256() for key, one in both.items()}, "files": files,
        "generators": generators, "eigenvalues": eigen(both, told.threads),
        "summaries": summaries(found, files),
        "reliability": {name: reliability([row for row in seen if row["method"] == name])
                        for name in ("ours", "ours_known")},
        "rows": found,
    }  # fmt: skip
    told.json.parent.mkdir(parents=True, exist_ok=True)
    told.json.write_text(lines(result), encoding="utf-8")


def lines(result: dict[str, Any]) -> str:
    """Return a result as JSON with a line for each row, so that a change of one row is a change of one line."""
    parts = []
    for key, value in result.items():
        many = isinstance(value, list) and value and isinstance(value[0], dict)
        inner = ",\n".join(json.dumps(one) for one in value) if many else ""
        parts.append(f'"{key}": ' + (f"[\n{inner}\n]" if many else json.dumps(value)))
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
