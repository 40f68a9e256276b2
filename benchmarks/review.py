"""How quickly the review desk turns and decides, in a browser: 500 findings of a drawn manuscript.

python benchmarks/review.py --json benchmarks/results/review.json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import common

from twinscope.types import Screening

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FINDINGS = 500


def many(folder: Path) -> None:
    """Screen the example manuscript into a case, and tell its findings again until there are 500."""
    paper, case = folder / "manuscript.pdf", folder / "cases" / "many"
    subprocess.run([sys.executable, str(ROOT / "examples" / "make.py"), str(paper)], check=True, capture_output=True)
    code = "from twinscope.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, "screen", str(paper), "-o", str(case)], check=True, capture_output=True)
    screening = Screening.model_validate_json((case / "screening.json").read_bytes())
    found = [
        one.model_copy(update={"id": f"f{number}", "probability": round(0.999 - 0.0009 * number, 4)})
        for number, one in enumerate((screening.findings * FINDINGS)[:FINDINGS], 1)
    ]
    (case / "screening.json").write_text(screening.model_copy(update={"findings": tuple(found)}).model_dump_json())


def measured(folder: Path, turns: int) -> dict[str, Any]:
    """Return the times, in seconds, that a reviewer waits."""
    command = [sys.executable, "-c", "from twinscope.cli import main; main()", "serve", str(folder / "cases"),
               "--port", "0", "--no-open"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    while "Ctrl-C" not in said:
        said += process.stdout.readline()
    url = re.findall(r"http\S+", said)[0]
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(url)
            start = time.perf_counter()
            page.goto(f"{url.split('/?')[0]}/cases/many")
            listed = time.perf_counter() - start
            start = time.perf_counter()
            page.click("#go-on")
            _shown(page, 1)
            first = time.perf_counter() - start
            page.wait_for_timeout(1500)
            turned, decided = [], []
            for number in range(2, turns + 2):
                start = time.perf_counter()
                page.keyboard.press("j")
                _shown(page, number)
                turned.append(time.perf_counter() - start)
                page.wait_for_timeout(700)  # somebody looks, and the next one is fetched meanwhile
                start = time.perf_counter()
                page.keyboard.press("1")
                page.wait_for_selector('.choices button[value=same][aria-pressed="true"]')
                decided.append(time.perf_counter() - start)
            browser.close()
    finally:
        process.terminate()
        process.wait()
    return {"list_s": round(listed, 3), "first_s": round(first, 3), "turns": turns,
            **_told("next", turned), **_told("decision", decided)}  # fmt: skip


def _shown(page: Any, number: int) -> None:
    """Wait until both panels of a finding are there, as pixels."""
    page.wait_for_selector(f'#finding[data-number="{number}"] #panes svg image')
    page.evaluate(
        """async () => { for (const one of document.querySelectorAll('#panes image')) {
            const image = new Image(); image.src = one.getAttribute('href'); await image.decode(); } }"""
    )


def _told(name: str, seconds: list[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    return {
        f"{name}_median_s": round(statistics.median(ranked), 4),
        f"{name}_p95_s": round(ranked[int(0.95 * (len(ranked) - 1))], 4),
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        many(Path(folder))
        told = {"findings": FINDINGS, **measured(Path(folder), options.turns)}
    text = json.dumps(told | {"load": round(os.getloadavg()[0], 1), **common.circumstances()}, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
