"""Take the picture of a report that the README shows: `python docs/picture.py REPORT PICTURE [FINDING]`.

Needs the dev extra and a Chromium on the machine.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1280, "height": 800}


def main(report: Path, picture: Path, finding: str) -> None:
    """Open a finding of the report, take its picture and keep it in 256 colours."""
    with sync_playwright() as tool:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.evaluate("id => document.querySelector(id).scrollIntoView()", f"#finding-{finding}")
        page.wait_for_timeout(500)
        shot = page.screenshot()
        browser.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "1")
