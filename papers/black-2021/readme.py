"""The tables of papers/black-2021/README.md, from results/tables.json; docs/generate.py writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twinscope.detect import heat

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- results: begin; made by docs/generate.py from results/tables.json -->", "<!-- results: end -->"

DESK = heat.MODEL
"""The network that ships, and with this the row "letters no edit"."""
TABLE2 = {
    "full": (".551", ".563"), "ResNetConv + F_A": (".243", ".243"), "ResNetConv": (".238", ".239"),
    "SSD + F_A": (".231", ".231"), "SSD": (".149", ".154"), "ErrAnalysis + F_A": (".143", ".011"),
    "ErrAnalysis": (".109", ".025"), "noise residual + F_A": (".061", ".091"), "noise residual": (".027", ".036"),
}  # fmt: skip
"""IoU with the threshold and without, as published; the blind detector there is MantraNet."""
EXTRA = ("ResNetConv + true alignment", "SSD + true alignment", "ErrAnalysis + true alignment",
         "noise residual + true alignment", DESK, f"{DESK}, letters no edit")  # fmt: skip
"""Rows of table 2 that the paper does not have."""
SETS = {"both": "edited and worn", "unmirrored": "the same, not mirrored", "manipulated": "edited alone",
        "blots": "blots", "copymove": "copy-move"}  # fmt: skip
TABLE3 = {
    "full": (".989", ".6543"), "no-align": (".860", ".4314"), "no-predict": (".943", ".5652"),
    "frozen-predict": (".874", ".5333"), "frozen-align": (".929", ".5315"), "no-class-loss": (".450", ".0000"),
    "no-heat-loss": (".955", ".1683"), "photometric": ("", ""), DESK: ("", ""),
    f"{DESK}, letters no edit": ("", ""),
}  # fmt: skip
"""Detection (AP) and localization (IoU), as published."""
NAMES = {
    "full": "comparator", "no-align": "no F_A", "no-predict": "no F_P (f_R in its place)",
    "frozen-predict": "frozen F_P", "frozen-align": "frozen F_A", "no-class-loss": "no L_C", "no-heat-loss": "no L_T",
    "photometric": "with a photometric term (not in the paper)",
    DESK: f"{DESK} (ships; not in the paper)",
    f"{DESK}, letters no edit": f"{DESK}, letters are no edit (as the desk asks)",
    "noise residual": "noise residual (theirs: MantraNet)",
    "noise residual + F_A": "noise residual + F_A (theirs: MantraNet)",
}  # fmt: skip
FIGURE7 = {
    "identical": ("1.000", ".0000", ".0000"), "benign": (".9635", ".0361", ".0003"),
    "manipulated": (".0250", ".9726", ".0024"), "both": (".1155", ".8807", ".0037"),
    "distinct": (".0024", ".0081", ".9895"), "photos": None,
}  # fmt: skip
"""The shares called not manipulated, manipulated and different, as published."""
KINDS = {"identical": "original", "benign": "benign", "manipulated": "manipulated", "both": "benign + manipulated",
         "distinct": "distinct", "photos": "edited photographs"}  # fmt: skip


def text() -> str:
    """Return the whole page, with its tables made again."""
    before, rest = (HERE / "README.md").read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    path = HERE / "results" / "tables.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return "\n".join([before + BEGIN, "", *tables(results), "", END + after])


def tables(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of all tables; what was not measured is said to be so."""
    yield from ("### Table 2: IoU with the threshold .35", "", *table2(results, "t", 0), "")
    yield from ("### Table 2: IoU without a threshold", "", *table2(results, "no_t", 1), "")
    yield from ("### Table 3: ablations", "", *table3(results), "")
    yield from ("### Figure 7: classes", "", *figure7(results))
    yield from ("", *circumstances(results))
    yield from figures(HERE / "figures")


def table2(results: Mapping[str, Any] | None, key: str, column: int) -> Iterator[str]:
    """Yield a half of table 2: its IoU with the threshold ("t") or without ("no_t")."""
    rows = {row["name"]: row["sets"] for row in results["table2"]} if results else {}
    yield "| | published | " + " | ".join(SETS.values()) + " |"
    yield "|---|" + "---|" * (len(SETS) + 1)
    for name in (*TABLE2, *EXTRA):
        told = TABLE2.get(name, ("", ""))[column]
        if name in rows:
            yield _row(name, told, rows[name], key)
            if name in ("full", DESK):
                yield _row(f"{NAMES[name]}, its heat-map alone", "", rows[name], f"free_{key}")
            if name == DESK and key == "t":
                yield _row(f"{DESK}, cut at .5 as it is", "", rows[name], "half")
        elif name != "ResNetConv + true alignment":
            yield f"| {NAMES.get(name, name)} | {told} | {_why(results, name)} |" + "  |" * (len(SETS) - 1)


def _row(name: str, told: str, sets: Mapping[str, Any], key: str) -> str:
    cells = [_cell(sets[one][key]) if one in sets else "" for one in SETS]
    return f"| {NAMES.get(name, name)} | {told} | " + " | ".join(cells) + " |"


def _why(results: Mapping[str, Any] | None, name: str) -> str:
    if results is None:
        return "not measured yet"
    base, _, end = name.partition(" + ")
    missing: Mapping[str, str] = results["missing"]
    if base in missing:
        return missing[base]
    return missing.get("F_A", "not measured") if end == "F_A" else "not measured"


def table3(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield table 3."""
    rows = results["table3"] if results else {}
    yield "| | AP, published | AP | IoU, published | IoU | accuracy | steps |"
    yield "|---|---|---|---|---|---|---|"
    for name, (precision, overlap) in TABLE3.items():
        if name not in rows:
            yield f"| {NAMES[name]} | {precision} | {_why(results, name)} | {overlap} |  |  |  |"
            continue
        row = rows[name]
        run = results["networks"][name] if results else {}
        steps = f"{run['step']:,}" if "step" in run else ""
        cells = [precision, _cell(row["ap"]), overlap, _cell(row["iou"]), _cell(row["accuracy"]), steps]
        yield f"| {NAMES[name]} | " + " | ".join(cells) + " |"


def figure7(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the classification table, and the benign classes of each network that is there."""
    found = results["figure7"] if results else {}
    yield "| pairs | | not manipulated | manipulated | different | right | AP | pairs |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind, told in FIGURE7.items():
        if told is not None:
            yield f"| {KINDS[kind]} | published | " + " | ".join(told) + " |  |  |  |"
        for name in ("full", DESK):
            if name not in found:
                yield f"| {KINDS[kind]} | {name_of(name)} | {_why(results, name)} |" + "  |" * 5
                continue
            row = found[name]["rows"][kind]
            said = " | ".join(_short(f"{value:.3f}") for value in row["said"])
            precision = _short(f"{row['ap']:.3f}") if "ap" in row else ""
            yield f"| {KINDS[kind]} | {name_of(name)} | {said} | {_cell(row['right'])} | {precision} | {row['pairs']} |"
    for name, one in found.items():
        yield from (
            "",
            f"Each benign class, {name_of(name)}: called not manipulated when worn alone, called manipulated",
        )
        yield from ("when edited before, and the average precision between the two.", "")
        yield from ("| class | worn alone | edited and worn | AP | pairs |", "|---|---|---|---|---|")
        for kind, row in one["classes"].items():
            alone, edited = (_cell(row[key]["right"]) for key in ("benign", "both"))
            count = f"{row['benign']['pairs']} + {row['both']['pairs']}"
            yield f"| {kind.replace('_', ' ')} | {alone} | {edited} | {_short(format(row['ap'], '.3f'))} | {count} |"


def name_of(name: str) -> str:
    """Return a network's name without what is said of it in brackets."""
    return NAMES.get(name, name).partition(" (")[0]


def circumstances(results: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield how the tables were made: pairs, device, and how each network was trained."""
    if results is None:
        yield "Nothing has been measured here yet: `run.sh` does it."
        return
    where, sets = results["circumstances"], results["table2"][0]["sets"] if results["table2"] else {}
    sizes = "; ".join(f"{SETS[key]} {part['pairs']} of {part['groups']} groups" for key, part in sets.items())
    yield f"Pairs: {sizes}. 95 % intervals from a bootstrap over groups."
    options = " ".join(f"--{key} {results[key]}" for key in ("pairs", "each", "side", "seed"))
    yield f"Made with `tables.py {options}`: {results['pairs']} simulated pairs of each kind,"
    yield f"{results['each']} of each benign class and as many with an edit."
    yield f"{where['device']}; commit {where['commit']}, {where['date']}; {results['seconds']:,.0f} s of asking."
    yield from older(results)
    for name, run in results["networks"].items():
        if "step" in run:
            of = f"step {run['step']:,} of {run.get('steps', run['step']):,}"
            cost = f"{run.get('minutes_in_all', run['minutes']):.0f} minutes on {run.get('threads', 1)} thread(s)"
            yield f"{name_of(name)}: {of}, {cost}, checkpoint {run['sha256'][:12]}, {run['ms_a_pair']:.0f} ms a pair."


def older(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each earlier run whose rows stand beside those of the last one."""
    runs: dict[tuple[str, str], list[str]] = {}
    for name, row in results["networks"].items():
        if "circumstances" in row:
            made = row["circumstances"]
            of = "the same pairs" if row["same_code"] else "by code that has changed since"
            runs.setdefault((of, f"measured at commit {made['commit']}, {made['date']}"), []).append(name_of(name))
    for (of, when), names in runs.items():
        rows = f"row of {names[0]} is" if len(names) == 1 else f"rows of {', '.join(names[:-1])} and {names[-1]} are"
        yield f"The {rows} of an older run, {of}: {when}."


def figures(folder: Path) -> Iterator[str]:
    """Yield the sheets of drawn pictures that lie in a folder."""
    for path in sorted(folder.glob("*-drawn.png")):
        name = path.stem.removesuffix("-drawn").removeprefix("worst-")
        what = "Heat-maps on drawn pictures (figures 5 and 9)" if name == "heat" else "The worst cases (figure 10)"
        of = "" if name == "heat" else f", of drawn pictures: {name}"
        yield from ("", f"![{what}{of}](figures/{path.name})")


def _cell(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    return _short(f"{part['mean']:.3f} [{low:.3f}, {high:.3f}]")


def _short(number: str) -> str:
    return number.replace("0.", ".")
