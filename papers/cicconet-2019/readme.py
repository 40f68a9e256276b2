"""The table of papers/cicconet-2019/README.md, from results/accuracy.json; docs/generate.py writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twinscope.detect.embed import MODEL

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: begin; made by docs/generate.py from results/accuracy.json -->", "<!-- results: end -->"
SEGMENTED = "<!-- segmentation: begin; made by docs/generate.py from results/segmentation.json -->"
SEGMENTED_END = "<!-- segmentation: end -->"
CONTENT = "<!-- content: begin; made by docs/generate.py from results/content.json -->"
CONTENT_END = "<!-- content: end -->"
PUBLISHED = {"SN": (".853731", ".861574"), "SN[G]": (".748010", ".848148")}
REAL = {"blots": "real: blots", "photos": "real: photographs", "copymove": "real: copy-move"}
FIGURES = {
    "deformations": "Deformations of two drawn pictures (figure 2 of both papers)",
    "training": "Accuracy during training: batch, validation, test, real (2018, figure 3)",
    "likelihood-synthetic": "Likelihood of each pair, synthetic (2019, figure 3b)",
    **{f"likelihood-{key}": f"Likelihood of each pair, {of} (2018, figure 4; 2019, 3a)" for key, of in REAL.items()},
    "classes-synthetic": "Classes against classes, synthetic (2019, figure 3d)",
    **{f"classes-{key}": f"Classes against classes, {of} (2019, figure 3c)" for key, of in REAL.items()},
    "neighbours": "Drawn pictures and the five nearest of each (2019, figure 3e)",
    "right": "Pairs of drawn pictures that it tells right (2018, figure 5)",
    "wrong": "Pairs of drawn pictures that it tells wrong (2018, figure 5)",
    "pca-points": "Principal components of 1,024 embeddings (2018, figure 6)",
    "pca": "Principal components of 1,024 embeddings of drawn pictures (2018, figure 6)",
}
NAMES = {name.replace("[", "-").replace("]", "").replace(", ", "-"): name
         for name in ("SN", "SN[G]", "SN, faithful", "SN[G], faithful", MODEL)}  # fmt: skip
"""Networks by what the names of their figures begin with."""
SETS = {"synthetic": "synthetic", **REAL}


def text() -> str:
    """Return the whole page, with its table made again."""
    page = (HERE / "README.md").read_text(encoding="utf-8")
    parts = [
        (BEGIN, END, "accuracy", table), (SEGMENTED, SEGMENTED_END, "segmentation", segmentation),
        (CONTENT, CONTENT_END, "content", content),
    ]  # fmt: skip
    for begin, end, name, lines in parts:
        before, rest = page.split(begin)
        _, after = rest.split(end)
        path = HERE / "results" / f"{name}.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        page = "\n".join([before + begin, "", *lines(results), "", end + after])
    return page


def table(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of the table; what was not measured is said to be so."""
    yield "| | " + " | ".join([*SETS.values(), "their real set"]) + " |"
    yield "|---|" + "---|" * (len(SETS) + 1)
    for name, (synthetic, real) in PUBLISHED.items():
        yield f"| {name}, published | {synthetic} |  |  |  | {real} |"
    networks = results["networks"] if results else {}
    for name, network in networks.items():
        cells = [_cell(network["sets"][key]) if key in network["sets"] else "" for key in SETS]
        yield f"| {name}, here | " + " | ".join([*cells, ""]) + " |"
    if results is None:
        yield from ("", "Nothing has been measured here yet: `run.sh` does it.")
        return
    for name, why in results["missing"].items():
        yield f"| {name}, here | {why} |" + "  |" * len(SETS)
    yield ""
    counts = next(iter(networks.values()))["sets"] if networks else {}
    sizes = "; ".join(f"{SETS[key]} {part['classes']} of {part['groups']} groups" for key, part in counts.items())
    where = results["circumstances"]
    yield f"Classes: {sizes}. Means of 10 runs; 95 % intervals from a bootstrap over groups."
    yield f"{where['device']}; commit {where['commit']}, {where['date']}."
    for name, network in networks.items():
        made = network.get("circumstances", where)
        if made != where:
            yield f"The row of {name} is of an older run, the same pictures: {made['device']}; commit {made['commit']},"
            yield f"{made['date']}."
    for name, network in networks.items():
        if "training" in network:
            run = network["training"]
            what = f"{run['steps']:,} steps (the papers: 20,000) of {run['batch']} triplets"
            cost = f"{run['minutes']:.0f} minutes on {run['threads']} thread(s)"
            yield f"{name}: {what} from {run['windows']:,} windows, {cost}."
    yield from figures(HERE / "figures")


def figures(folder: Path) -> Iterator[str]:
    """Yield the figures that lie in a folder, each with what it shows."""
    for path in sorted(folder.glob("*.png")):
        what = next(text for end, text in FIGURES.items() if path.stem.endswith(end))
        network = path.stem.removesuffix(next(end for end in FIGURES if path.stem.endswith(end))).rstrip("-")
        of = f": {NAMES.get(network, network)}" if network else ""  # one that shipped before has no other name
        yield from ("", f"![{what}{of}](figures/{path.name})")
        page = path.with_suffix(".html")
        if page.is_file():
            yield from ("", f"[As a page to move in](figures/{page.name}), to be opened in a browser.")


THEIRS = {
    "U-Net": (".61621280", ".88191967"), "SN + RF": (".61537368", ".88659722"),
    "SN[G] + RF": (".61940216", ".88730750"),
}  # fmt: skip
"""IoU and pixel accuracy of nuclei, as published (74 training and 19 test images of 360x360)."""
ROWS = ("Otsu", "U-Net", "SN + RF", "SN[G] + RF", "shipped + RF", "plain + RF", "shipped + plain + RF")
TASKS = {
    "nuclei": "nuclei, 360x360, split by image as in the paper",
    "fields": "the same images, split by field: no tile of a tested field is learned from",
    "drawn": "drawn cells, 256x256, another modality: as grey as the ground, told by their grain",
}
PLOT = "figures/segmentation/few-annotations.png"


def segmentation(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the table of segmentation, its other tasks, and IoU by the number of annotated images."""
    if results is None:
        yield from ("Nothing has been measured here yet: `run.sh` does it.",)
        return
    for name, what in TASKS.items():
        task = results["tasks"][name]
        yield from (
            f"**{what[0].upper()}{what[1:]}** ({task['training']} to learn from, {task['test']} to test on)",
            "",
        )
        yield from _whole(task, name == "nuclei")
        if name != "drawn":
            seen, count = task["seen"], task["test"]
            yield f"The feature networks learned from {seen['pictures']} of the {count} test images themselves, and"
            yield f"{seen['fields']} lie in fields of which they saw a tile (without masks, as all they learned from)."
            yield ""
    yield from ("**IoU by the number of annotated images** (nuclei, split by image)", "")
    yield from _few(results["tasks"]["nuclei"])
    if (HERE / PLOT).is_file():
        yield from (f"![IoU against the number of annotated images]({PLOT})", "")
    yield from _how(results)


def _whole(task: Mapping[str, Any], published: bool) -> Iterator[str]:
    """Yield a table with IoU and pixel accuracy of all training images, and IoU with five."""
    yield "| | IoU, all | pixel accuracy, all | IoU, five images | training, s | a test image, s |"
    yield "|---|---|---|---|---:|---:|"
    for name, (iou, pa) in THEIRS.items() if published else ():
        yield f"| {name}, published | {iou} | {pa} |  |  |  |"
    for name in ROWS:
        row = task["rows"].get(name, {})
        every, five = row.get(str(task["training"])), row.get("5")
        if every is None and five is None:
            yield f"| {name}, here | not measured |  |  |  |  |"
            continue
        cells = [_cell(every[key]) if every else "not measured" for key in ("iou", "pa")]
        cells.append(_cell(five["iou"]) if five else "not measured")
        cells += [f"{every[key]:.{digits}f}" if every else "" for key, digits in (("train_s", 0), ("apply_s", 2))]
        yield f"| {name}, here | " + " | ".join(cells) + " |"
    yield ""


def _few(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of IoU by the number of training images; the number of draws in brackets."""
    sizes = sorted({int(size) for row in task["rows"].values() for size in row})
    yield "| | " + " | ".join(str(size) for size in sizes) + " |"
    yield "|---|" + "---|" * len(sizes)
    for name in ROWS:
        row = task["rows"].get(name, {})
        cells = [
            f"{row[str(size)]['iou']['mean']:.3f} ({row[str(size)]['draws']})".replace("0.", ".", 1)
            if str(size) in row else "" for size in sizes
        ]  # fmt: skip
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield from ("", "In brackets how many training sets were drawn.", "")


def _how(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield how it was measured."""
    net, trees, where = results["unet"], results["forest"], results["circumstances"]
    yield "IoU and pixel accuracy are means over the test images, the intervals (95 %) a bootstrap over them."
    yield f"Forests: {trees['trees']} trees, at least {trees['leaf']} places in a leaf (fewer with few images), of at"
    yield f"most {trees['most']:,} places of 2x2 px; no augmentation. “plain” are 14 simple channels (grey, smooth,"
    yield "slope, spread), alone or beside the maps of the shipped network; not in the paper."
    yield f"U-Net: {net['depth']} down-samplings, {net['channels']} channels at the top, {net['steps']} steps of"
    yield f"{net['batch']} windows of {net['side']} px from {net['copies']} augmented copies of each image."
    for name, training in results["networks"].items():
        if "step" in training:
            batch = training["plan"]["batch"]
            yield f"The network of {name}: {training['step']:,} steps of {batch} triplets (the papers: 20,000 of 128)."
    yield f"{where['device']}, one thread, processor time; commit {where['commit']}, {where['date']}."


def content(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield whether a segmentation into content and ground helps `screen` to tell copies from look-alikes."""
    if results is None:
        yield "Nothing has been measured here yet: `sn_content.py` does it."
        return
    yield "| log loss of same or not | | what content gains |"
    yield "|---|---|---|"
    for name, loss in results["log_loss"].items():
        gain = results.get(f"gained_by_{name.removeprefix('with content by ')}")
        told = "" if gain is None else f"{gain['mean']:+.4f} [{gain['95'][0]:+.4f}, {gain['95'][1]:+.4f}]"
        yield f"| {name} | {loss:.4f} | {told} |"
    where = results["circumstances"]
    yield ""
    yield f"{results['planted']} planted pairs and {results['others']} look-alikes of validation groups, as the desk"
    yield f"aligns them; intervals (95 %) are a bootstrap over {results['parts']} draws."
    yield f"{where['device']}; commit {where['commit']}, {where['date']}."
    gains = [value["95"][0] for name, value in results.items() if name.startswith("gained_by_")]
    helps = "It helps." if max(gains) > 0 else "Nothing is gained for certain, so `screen` does without."
    yield helps


def _cell(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    return f"{part['mean']:.3f} [{low:.3f}, {high:.3f}]".replace("0.", ".")
