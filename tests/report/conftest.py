"""A case drawn from nothing: panels, pages, heat-maps and four findings, for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from twinscope import geometry, models
from twinscope.types import (
    Box,
    Classes,
    Edit,
    Figure,
    Finding,
    InputFile,
    Origin,
    Page,
    Panel,
    Problem,
    Provenance,
    Screening,
)  # fmt: skip

Image = NDArray[np.uint8]
SHA = {"one": "1" * 64, "two": "2" * 64}
CAPTIONS = (
    "Figure 1. Nuclei of untreated cells (A) and of cells after 24 h (B). Scale bar, 20 µm.",
    "Figure 2. Blots of the loading control.",
)


def cells(seed: int, height: int, width: int, count: int = 60) -> Image:
    """Draw a picture like a fluorescence micrograph."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width), 14.0, np.float32)
    for _ in range(count):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(rng.integers(8, 24)), int(rng.integers(8, 17)))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(60, 190)), -1)
    grain = rng.normal(1, 0.06, image.shape)
    image = cv2.GaussianBlur(cv2.GaussianBlur(image, (0, 0), 2.2) * grain, (0, 0), 0.8) + rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def tissue(seed: int, height: int, width: int) -> Image:
    """Draw a picture like a stained section, in colour."""
    rng = np.random.default_rng(seed)
    noise = sum(
        cv2.resize(rng.normal(0, 1, (max(2, height // s), max(2, width // s))), (width, height), interpolation=2)
        * s**0.5
        for s in (4, 12, 40)
    )
    level = (noise - noise.min()) / (noise.max() - noise.min())
    low, high = np.array([120, 50, 130.0]), np.array([246, 226, 238.0])
    image = low + (high - low) * level[..., None]
    dots = cells(seed + 1, height, width, 160).astype(np.float32)[..., None] / 255
    return np.clip(image * (1 - dots) + np.array([70, 30, 110.0]) * dots, 0, 255).astype(np.uint8)


def strip(seed: int, height: int = 70, width: int = 420) -> Image:
    """Draw a strip of a blot."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width), 205.0, np.float32)
    for lane in range(8):
        band = np.zeros_like(image)
        centre = (26 + lane * 52, height // 2 + int(rng.integers(-4, 5)))
        cv2.ellipse(band, centre, (18, int(rng.integers(4, 10))), 0, 0, 360, float(rng.uniform(90, 170)), -1)
        image -= cv2.GaussianBlur(band, (0, 0), 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def chart() -> Image:
    """Draw a graph."""
    image = np.full((300, 360, 3), 255, np.uint8)
    cv2.polylines(image, [np.array([[40, 20], [40, 260], [340, 260]])], False, (0, 0, 0), 2)
    for i, top in enumerate((80, 140, 190, 60)):
        cv2.rectangle(image, (60 + 70 * i, top), (105 + 70 * i, 260), (70, 110, 160), -1)
    return image


def save(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(path), out)


def move(image: Image, transform: NDArray[np.float64], size: tuple[int, int]) -> Image:
    return np.asarray(cv2.warpPerspective(image, transform, (size[1], size[0]), flags=cv2.INTER_CUBIC), np.uint8)


def heat(case: Path, name: str, size: tuple[int, int], boxes: tuple[tuple[float, ...], ...]) -> str:
    image = np.abs(np.random.default_rng(5).normal(0, 14, size)).astype(np.float32)
    for x0, y0, x1, y1 in boxes:
        image[int(y0) + 4 : int(y1) - 4, int(x0) + 4 : int(x1) - 4] += 225
    save(case / "heatmaps" / name, np.clip(cv2.GaussianBlur(image, (0, 0), 4), 0, 255).astype(np.uint8))
    return f"heatmaps/{name}"


def _panels() -> dict[str, tuple[str, int, Image, str]]:
    """Return id -> (kind, page, pixels, label)."""
    base = cells(1, 360, 480)
    turned = geometry.mirror(480)
    turned = np.array([[0, -1, 359], [1, 0, 0], [0, 0, 1.0]]) @ turned
    big = tissue(7, 620, 760)
    blot = strip(4)
    edited = blot.copy()
    edited[:, 180:236] = np.clip(204 + np.random.default_rng(3).normal(0, 4, (70, 56)), 0, 255)
    gamma = (255 * (move(base, turned, (480, 360)) / 255.0) ** 0.8).astype(np.uint8)
    bend = np.array([[0.92, 0.06, 20], [-0.04, 0.95, 24], [1.6e-4, -0.9e-4, 1]])
    return {
        "d1-p1-f1-1": ("micrograph", 1, base, "A"),
        "d1-p2-f1-1": ("micrograph", 2, gamma, "C"),
        "d1-p1-f1-2": ("micrograph", 1, big, "B"),
        "d1-p3-f1-1": ("micrograph", 3, np.ascontiguousarray(big[150:470, 260:700]), "D"),
        "d1-p2-f2-1": ("blot", 2, blot, ""),
        "d1-p2-f2-2": ("blot", 2, edited, ""),
        "d1-p3-f1-2": ("photo", 3, move(tissue(11, 300, 400), bend, (330, 430)), ""),
        "d1-p1-f1-3": ("photo", 1, tissue(11, 300, 400), "E"),
        "d1-p3-f2-1": ("graph", 3, chart(), ""),
    }


def _pages(case: Path, names: dict[str, tuple[str, int, Image, str]], path: str) -> tuple[list[Page], dict[str, Box]]:
    """Lay the panels on pages of US letter; return the pages and the box of each panel in points."""
    places: dict[str, Box] = {}
    pages = []
    for number in (1, 2, 3):
        sheet = np.full((660, 510, 3), 255, np.uint8)
        for line in range(22):
            cv2.rectangle(sheet, (50, 350 + line * 13), (460 - (line * 37) % 90, 354 + line * 13), (188, 188, 188), -1)
        here = [name for name, item in names.items() if item[1] == number]
        for i, name in enumerate(here):
            image = names[name][2]
            image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
            k = min(195 / image.shape[1], 130 / image.shape[0])
            small = cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
            y, x = 50 + 145 * (i // 2), 50 + 210 * (i % 2)
            sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
            box = (x * 1.2, y * 1.2, (x + small.shape[1]) * 1.2, (y + small.shape[0]) * 1.2)
            places[name] = Box(*map(float, box))
        save(case / "pages" / f"d1-p{number:03}.jpg", sheet)
        pages.append(
            Page(path=path, sha256=SHA["one"], page=number, size_pt=(792, 612), thumbnail=f"pages/d1-p{number:03}.jpg")
        )
    return pages, places


def build(case: Path, hostile: str = "", doc: str = "manuscript.pdf") -> Screening:
    """Write the pictures of a case and return its screening; `hostile` is put wherever a text can be."""
    h = hostile
    names = _panels()
    for name, (_, _, image, _) in names.items():
        save(case / "panels" / f"{name}.png", image)
    pages, places = _pages(case, names, doc + h)
    panels = []
    for name, (kind, page, image, label) in names.items():
        origin = Origin(path=doc + h, sha256=SHA["one"], page=page, box_pt=places[name], how="embedded")
        figure = name.rsplit("-", 1)[0]
        panels.append(
            Panel(id=name, figure=figure, kind=kind, size=image.shape[:2], label=label + h, caption=h, source=origin)
        )  # fmt: skip
    figures = [
        Figure(id=name, source=Origin(path=doc + h, sha256=SHA["one"], page=int(name[4])), label=f"Figure {i}{h}",
               caption=CAPTIONS[(i - 1) % 2] + h)
        for i, name in enumerate(dict.fromkeys(panel.figure for panel in panels), 1)
    ]  # fmt: skip
    return Screening(
        inputs=(
            InputFile(
                path=doc + h, sha256=SHA["one"], kind="pdf", status="partial", reason="1 of 4 pages failed" + h, pages=4
            ),
            InputFile(
                path="supplement.pdf" + h, sha256=SHA["two"], kind="pdf" + h, status="refused", reason="encrypted" + h
            ),
        ),
        pages=tuple(pages),
        figures=tuple(figures),
        panels=tuple(panels),
        findings=_findings(case, h),
        problems=(Problem(path=doc + h, page=4, reason="the page took longer than 30 s" + h),),
        seconds=4.2,
        provenance=Provenance(
            twinscope="0.1.0" + h,
            models={"embedder-0" + h: "ab" * 32},
            settings_sha256="cd" * 32 + h,
            command="twinscope screen manuscript.pdf supplement.pdf -o CASE" + h,
        ),
    )


def _findings(case: Path, h: str) -> tuple[Finding, ...]:
    turned = np.array([[0, -1, 359], [1, 0, 0], [0, 0, 1.0]]) @ geometry.mirror(480)
    crop = np.array([[1, 0, -260], [0, 1, -150], [0, 0, 1.0]])
    bend = np.array([[0.92, 0.06, 20], [-0.04, 0.95, 24], [1.6e-4, -0.9e-4, 1]])
    box = geometry.bounds(geometry.apply(bend, geometry.corners((0, 0, 400, 300))))
    changes = ((178.0, 8.0, 238.0, 62.0),)
    return (
        Finding(
            id="overlap" + h, kind="overlap", a="d1-p1-f1-2", b="d1-p3-f1-1", verdict="benign", probability=0.962,
            expected_false=0.02, distance=None, region_a=(260, 150, 700, 470), region_b=(0, 0, 440, 320),
            transform=geometry.as_matrix(crop), steps=("cropped" + h,), heatmap_b=heat(case, "o-b.png", (320, 440), ()),
            evidence={"inliers": 412, "psnr_db" + h: 38.25},
        ),
        Finding(
            id="turned", kind="duplicate", a="d1-p1-f1-1", b="d1-p2-f1-1", verdict="benign", probability=0.99962,
            expected_false=0.0004, distance=0.31, region_a=(0, 0, 480, 360), region_b=(0, 0, 360, 480),
            transform=geometry.as_matrix(turned), steps=("mirrored left-right", "rotated 90° clockwise", "gamma 0.80"),
            heatmap_b=heat(case, "t-b.png", (480, 360), ()), evidence={"inliers": 230.0},
        ),
        Finding(
            id="edited", kind="duplicate", a="d1-p2-f2-1", b="d1-p2-f2-2", verdict="manipulated", probability=0.9941,
            expected_false=0.003, distance=0.52, region_a=(0, 0, 420, 70), region_b=(0, 0, 420, 70),
            transform=geometry.as_matrix(np.eye(3)), changes=changes,
            heatmap_b=heat(case, "e-b.png", (70, 420), changes), evidence={"residual": 0.41},
        ),
        Finding(
            id="bent", kind="duplicate", a="d1-p1-f1-3", b="d1-p3-f1-2", verdict="manipulated", probability=0.74,
            expected_false=0.6, distance=0.9, region_a=(0, 0, 400, 300), region_b=geometry.clip(box, (330, 430)),
            transform=geometry.as_matrix(bend), steps=("perspective changed by 9 %",),
            changes=((60.0, 80.0, 120.0, 130.0), (250.0, 160.0, 300.0, 230.0)),
            heatmap_b=heat(case, "b-b.png", (330, 430), ((60.0, 80.0, 120.0, 130.0), (250.0, 160.0, 300.0, 230.0))),
        ),
    )  # fmt: skip


def by_the_network(screening: Screening) -> Screening:
    """Return a screening as if the network that is here had made it, so that the report can say why."""
    made_by = {card.id: card.sha256 for card in models.cards()}
    provenance = screening.provenance.model_copy(update={"models": made_by})
    return screening.model_copy(update={"provenance": provenance})


def with_edits(case: Path, screening: Screening) -> Screening:
    """Return the screening with what the comparator tells of two findings: the turned one and the edited strip."""
    turned, edited = (next(f for f in screening.findings if f.id.startswith(name)) for name in ("turned", "edited"))
    boxes = ((40.0, 60.0, 90.0, 110.0), (200.0, 300.0, 260.0, 380.0), (120.0, 180.0, 170.0, 230.0))
    back = np.linalg.inv(np.array(turned.transform))
    places = [geometry.bounds(geometry.apply(back, geometry.corners(box))) for box in boxes]
    blind = np.zeros((480, 360), np.uint8)
    blind[400:, :100] = 255
    save(case / "heatmaps" / "u-b.png", blind)
    kinds = ("added", "cloned", "tone")
    turned = turned.model_copy(update={
        "verdict": "manipulated", "changes": boxes, "heatmap_a": heat(case, "t-a.png", (360, 480), tuple(places)),
        "heatmap_b": heat(case, "t2-b.png", (480, 360), boxes), "unsure_b": "heatmaps/u-b.png",
        "classes": Classes(benign=0.03, manipulated=0.962, distinct=0.008),
        "edits": tuple(Edit(box_a=a, box_b=b, kind=kind, source_b=(20, 220, 80, 300) if kind == "cloned" else None)
                       for a, b, kind in zip(places, boxes, kinds, strict=True)),
    })  # fmt: skip
    box = edited.changes[0]
    edited = edited.model_copy(update={
        "heatmap_a": heat(case, "e-a.png", (70, 420), ((180.0, *box[1:]),)),
        "edits": (Edit(box_a=box, box_b=box, kind="erased"),),
        "classes": Classes(benign=0.0, manipulated=1.0, distinct=0.0),
    })  # fmt: skip
    new = {turned.id: turned, edited.id: edited}
    return screening.model_copy(update={"findings": tuple(new.get(f.id, f) for f in screening.findings)})


@pytest.fixture(scope="session")
def edited_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Screening]:
    """A case with edits, classes and heat-maps over both panels in two of its four findings."""
    folder = tmp_path_factory.mktemp("edited")
    return folder, with_edits(folder, build(folder))


@pytest.fixture(scope="session")
def explained() -> Callable[[Screening], Screening]:
    return by_the_network


@pytest.fixture(scope="session")
def build_case() -> Callable[..., Screening]:
    return build


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Screening]:
    """A case with four findings, problems and pictures of its own."""
    folder = tmp_path_factory.mktemp("case")
    return folder, build(folder)
