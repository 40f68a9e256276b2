"""Measure figure and panel extraction on the papers of ../shared/pdfs; print the table and keep it as JSON.

    python benchmarks/extraction.py [-o benchmarks/results/extraction.json] [--overlays FOLDER]

Figures: a listed figure is found when an extracted one overlaps it at IoU >= .7. Panels: one-to-one matches, best IoU
first, on the figures whose panels are listed (in_panels_csv = 1); an extracted panel counts there when its centre lies
in such a figure. Kind: among the panels matched at IoU >= .5.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twinscope import ingest, settings
from twinscope.types import Box

SHARED = Path(os.environ.get("TWINSCOPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
RESULTS = Path(__file__).resolve().parent / "results" / "extraction.json"


class Truth(NamedTuple):
    """A listed figure or panel."""

    pdf: str
    page: int
    figure: str
    box: Box
    kind: str = ""
    boxed: bool = False


def iou(a: Box, b: Box) -> float:
    """Return intersection over union of two boxes."""
    shared = max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))
    return shared / max(1e-9, a.area + b.area - shared)


def truths(name: str) -> list[Truth]:
    """Return the rows of figures.csv or panels.csv."""
    with (SHARED / "pdfs" / name).open(newline="") as stream:
        return [
            Truth(
                row["pdf"],
                int(row["page"]),
                row["figure"],
                Box(*(float(row[k]) for k in ("x0", "y0", "x1", "y1"))),
                row.get("kind") or "",
                row.get("in_panels_csv") == "1",
            )
            for row in csv.DictReader(stream)
        ]


def match(wanted: Sequence[Box], found: Sequence[Box], least: float) -> list[tuple[int, int]]:
    """Return one-to-one pairs (wanted, found) with IoU >= `least`, best first."""
    pairs = sorted(((iou(w, f), i, j) for i, w in enumerate(wanted) for j, f in enumerate(found)), reverse=True)
    taken_i: set[int] = set()
    taken_j: set[int] = set()
    out = []
    for value, i, j in pairs:
        if value >= least and i not in taken_i and j not in taken_j:
            taken_i.add(i)
            taken_j.add(j)
            out.append((i, j))
    return out


def measure(pdfs: Sequence[Path], case: Path) -> dict[str, Any]:
    """Read the PDFs into `case` and return one row a PDF and the totals."""
    figures, panels = truths("figures.csv"), truths("panels.csv")
    rows = []
    for pdf in pdfs:
        began = time.perf_counter()
        reading = ingest.read([pdf], case / pdf.stem, settings.load())
        seconds = time.perf_counter() - began
        row: dict[str, Any] = {"pdf": pdf.name, "status": reading.inputs[0].status, "seconds": round(seconds, 2)}
        row |= dict.fromkeys(("figures", "figures_found", "figures_extra", "panels", "panels_extracted"), 0)
        row |= dict.fromkeys(("matched_50", "matched_75", "kind_right"), 0)
        row["panels_in_all"] = len(reading.panels)
        pages = {t.page for t in figures if t.pdf == pdf.name} | {f.source.page for f in reading.figures}
        for page in sorted(p for p in pages if p):
            on_page = [t for t in figures if (t.pdf, t.page) == (pdf.name, page)]
            got = [Box(*f.source.box_pt) for f in reading.figures if f.source.page == page and f.source.box_pt]
            hits = match([t.box for t in on_page], got, 0.7)
            row["figures"] += len(on_page)
            row["figures_found"] += len(hits)
            row["figures_extra"] += len(got) - len(hits)
            boxed = [t.box for t in on_page if t.boxed]
            want = [t for t in panels if (t.pdf, t.page) == (pdf.name, page)]
            have = [p for p in reading.panels if p.source.page == page and p.source.box_pt]
            have = [p for p in have if any(_inside(Box(*p.source.box_pt), b) for b in boxed)]  # type: ignore[misc]
            boxes = [Box(*p.source.box_pt) for p in have if p.source.box_pt]
            row["panels"] += len(want)
            row["panels_extracted"] += len(have)
            pairs = match([t.box for t in want], boxes, 0.5)
            row["matched_50"] += len(pairs)
            row["matched_75"] += len(match([t.box for t in want], boxes, 0.75))
            row["kind_right"] += sum(want[i].kind == have[j].kind for i, j in pairs)
        rows.append(row)
    return {"rows": rows, "total": _total(rows)}


def _inside(box: Box, frame: Box) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return frame.x0 <= x <= frame.x1 and frame.y0 <= y <= frame.y1


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    total = {k: sum(row[k] for row in rows) for k in rows[0] if k not in ("pdf", "status")}

    def share(a: str, b: str) -> float:
        return round(total[a] / max(1, total[b]), 4)

    return total | {
        "figure_recall": share("figures_found", "figures"),
        "panel_recall_50": share("matched_50", "panels"),
        "panel_precision_50": share("matched_50", "panels_extracted"),
        "panel_recall_75": share("matched_75", "panels"),
        "panel_precision_75": share("matched_75", "panels_extracted"),
        "kind_accuracy": share("kind_right", "matched_50"),
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(
        f"{'pdf':32} {'figures':>9} {'extra':>5} {'panels':>6} {'got':>4} {'IoU.5':>5} {'.75':>4} {'kind':>4} {'s':>6}"
    )
    for row in [*result["rows"], {"pdf": "all", **result["total"]}]:
        print(
            f"{row['pdf']:32} {row['figures_found']:>4}/{row['figures']:<4} {row['figures_extra']:>5}"
            f" {row['panels']:>6} {row['panels_extracted']:>4} {row['matched_50']:>5} {row['matched_75']:>4}"
            f" {row['kind_right']:>4} {row['seconds']:>6.1f}"
        )
    total = result["total"]
    print(f"\nfigures found at IoU .7: {total['figure_recall']:.3f} (aim .95)")
    for level in ("50", "75"):
        aim = ".9" if level == "50" else ".8"
        recall, precision = total[f"panel_recall_{level}"], total[f"panel_precision_{level}"]
        print(f"panels at IoU .{level}: recall {recall:.3f}, precision {precision:.3f} (aim {aim})")
    print(f"kind right: {total['kind_accuracy']:.3f} (aim .9)")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--only", default="", help="part of a file name; the result is then not kept")
    parser.add_argument("--case", type=Path, help="keep the cases here")
    options = parser.parse_args()
    pdfs = [p for p in sorted((SHARED / "pdfs").glob("*.pdf")) if options.only in p.name]
    if not pdfs:
        raise SystemExit("no papers: this benchmark needs ../shared/pdfs (or TWINSCOPE_SHARED)")
    with tempfile.TemporaryDirectory() as room:
        result = measure(pdfs, options.case or Path(room))
    show(result)
    if not options.only:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
