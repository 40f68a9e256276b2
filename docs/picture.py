"""Take the pictures that the README shows: of a report, or of the review desk.

python docs/picture.py REPORT PICTURE [FINDING]
python docs/picture.py ADDRESS PICTURE      (of a finding of a desk that is open, with its token)

Needs the dev extra and a Chromium on the machine.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1280, "height": 800}


def main(shown: str, picture: Path, finding: str) -> None:
    """Open a finding, take its picture and keep it in 256 colours."""
    with sync_playwright() as tool:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5, color_scheme="light")
        (_open_desk if shown.startswith("http") else _open_report)(page, shown, finding)
        page.wait_for_timeout(700)
        shot = page.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(picture, optimize=True)


def _open_report(page: Any, shown: str, finding: str) -> None:
    page.goto(Path(shown).resolve().as_uri())
    page.evaluate("id => document.querySelector(id).scrollIntoView()", f"#finding-{finding}")


def _open_desk(page: Any, shown: str, finding: str) -> None:
    page.goto(shown)
    page.click("table.cases a")
    page.click(f"ol.found li:nth-child({finding}) a")
    page.wait_for_selector("#panes svg")
    page.keyboard.press("h")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "1")
