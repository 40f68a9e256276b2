"""Annotations: what is drawn over a picture is marked, what is bright or dark in it is not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tests.ingest import compose

from twinscope import manipulate
from twinscope.ingest.annotations import _rows, annotation_mask
from twinscope.train import pairs, strips

WHITE, BLACK, YELLOW, RED = (255, 255, 255), (0, 0, 0), (255, 255, 0), (255, 0, 0)


def annotated(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> dict[str, NDArray[np.uint8]]:
    """Return the picture with each sort of annotation drawn on it."""
    found = {name: image.copy() for name in ("letter", "bar", "arrow", "box", "words")}
    cv2.putText(found["letter"], "B", (14, 52), cv2.FONT_HERSHEY_DUPLEX, 1.5, colour, 3, cv2.LINE_AA)
    cv2.rectangle(found["bar"], (240, 330), (330, 337), colour, -1)
    cv2.arrowedLine(found["arrow"], (90, 200), (150, 160), colour, 3, cv2.LINE_AA, tipLength=0.4)
    cv2.rectangle(found["box"], (180, 90), (270, 170), colour, 2)
    cv2.putText(found["words"], "20 um", (230, 320), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)
    return found


def fluorescence(seed: int = 3, peak: float = 400.0) -> NDArray[np.uint8]:
    """Draw nuclei on black, soft at the edge as a microscope makes them; saturated above a peak of 255."""
    rng = np.random.default_rng(seed)
    layer = np.zeros((360, 360), np.float32)
    for x, y in rng.uniform(0, 360, (30, 2)):
        cv2.ellipse(layer, (int(x), int(y)), (16, 11), 30, 0, 360, peak, -1)
    out = cv2.GaussianBlur(layer, (0, 0), 2.5) + rng.normal(12, 3, layer.shape)
    return np.repeat(np.clip(out, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def grounds() -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    grey = np.clip(128 + 25 * compose.noise(rng, 360, 360, 4) + rng.normal(0, 3, (360, 360)), 0, 255)
    return {"nuclei": fluorescence(peak=150), "grey": np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)}


@pytest.mark.parametrize("ground", ["nuclei", "grey"])
@pytest.mark.parametrize("colour", [WHITE, BLACK, YELLOW, RED])
@pytest.mark.parametrize("quality", [None, 85])
def test_drawn_overlays_are_marked(ground: str, colour: tuple[int, int, int], quality: int | None) -> None:
    if ground == "nuclei" and colour == BLACK:
        pytest.skip("black on a black ground cannot be seen")
    base = grounds()[ground]
    for name, image in annotated(base, colour).items():
        drawn = np.abs(image.astype(int) - base).max(axis=2) > 60
        mask = annotation_mask(image if quality is None else compose.jpeg(image, quality))
        assert mask[drawn].mean() > 0.8, name


def test_grey_pictures_are_read_too() -> None:
    base = fluorescence(peak=150)[..., 0]
    image = base.copy()
    cv2.rectangle(image, (240, 330), (330, 337), 255, -1)
    assert annotation_mask(image)[331:336, 242:328].all()


def test_saturated_nuclei_are_content() -> None:
    assert annotation_mask(fluorescence()).mean() < 0.01


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["micrograph", "blot"])
def test_clean_pictures_stay_clean(seed: int, kind: str) -> None:
    image = compose.picture(np.random.default_rng(seed), kind, 300, 400)
    assert annotation_mask(image).mean() < 0.01


def test_words_and_bars_across_saturated_nuclei_are_marked() -> None:
    base = fluorescence()
    for name in ("words", "bar", "box"):
        image = annotated(base, WHITE)[name]
        drawn = np.abs(image.astype(int) - base).max(axis=2) > 60
        assert annotation_mask(image)[drawn].mean() > 0.65, name


def test_black_bands_are_content() -> None:
    rng = np.random.default_rng(8)
    image = np.full((120, 500), 215, np.float32)
    for lane in range(6):
        cv2.ellipse(image, (45 + 80 * lane, 60), (32, 9), 0, 0, 360, -80.0, -1)
    image = cv2.GaussianBlur(image, (0, 0), 2) + rng.normal(0, 2, image.shape)
    assert annotation_mask(np.clip(image, 0, 255).astype(np.uint8)).mean() < 0.01


def test_rows_of_letters_by_hand() -> None:
    """A chain 5-2-4-0, a pair 1-3, and 6 alone."""
    beside = np.eye(7, dtype=np.bool_)
    for a, b in ((5, 2), (2, 4), (4, 0), (1, 3)):
        beside[a, b] = beside[b, a] = True
    assert _rows(beside).tolist() == [0, 1, 0, 1, 0, 0, 6]


def test_the_mask_has_the_size_of_the_picture() -> None:
    for shape in [(5, 9), (40, 1700, 3), (2000, 1500)]:
        mask = annotation_mask(np.zeros(shape, np.uint8))
        assert mask.shape == shape[:2]
        assert mask.dtype == bool


def test_real_micrographs_stay_clean(shared: Path) -> None:
    paths = sorted((shared / "data" / "micrographs" / "images" / "dsb2018").glob("*.webp"))[::40]
    covered = [float(annotation_mask(cv2.imread(str(path))).mean()) for path in paths]
    assert len(covered) > 10
    assert np.mean(covered) < 0.01


def light_ground() -> NDArray[np.uint8]:
    """Draw a bright field: a light ground with pale cells."""
    rng = np.random.default_rng(6)
    out = 205 + 5 * compose.noise(rng, 260, 350, 20)
    for x, y in rng.uniform(60, 240, (8, 2)):
        cv2.circle(out, (int(x), int(y)), 18, 165.0, -1)
    out = cv2.GaussianBlur(out.astype(np.float32), (0, 0), 2) + rng.normal(0, 2, out.shape)
    return np.repeat(np.clip(out, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def recall(image: NDArray[np.uint8], base: NDArray[np.uint8], least: int = 30) -> float:
    """Return the share of what was drawn that is marked."""
    drawn = np.abs(image.astype(int) - base).max(axis=2) > least
    assert drawn.sum() > 20
    return float(annotation_mask(image)[drawn].mean())


def lettered(base: NDArray[np.uint8], letter: str, level: int, tall: int) -> NDArray[np.uint8]:
    """Write a letter of a grey level into the upper left corner."""
    image = base.copy()
    face, thick = cv2.FONT_HERSHEY_SIMPLEX, max(2, round(tall / 7))
    cv2.putText(image, letter, (8, 8 + tall), face, tall / 22, (level,) * 3, thick, cv2.LINE_AA)
    return image


def test_words_are_marked_to_their_last_letter_and_dot() -> None:
    marked = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        ground = float(rng.choice([0.05, 0.5, 0.97]))
        size = int(rng.integers(150, 400)), int(rng.integers(200, 420))
        base = np.clip(ground + 0.01 * rng.standard_normal(size), 0, 1).astype(np.float32)
        written = manipulate.letters(base, rng).image
        drawn = np.abs(written - base) > 0.25
        if drawn.sum() >= 60:
            marked.append(float(annotation_mask(np.rint(255 * written).astype(np.uint8))[drawn].mean()))
    assert len(marked) > 30
    assert np.mean(np.array(marked) > 0.99) > 0.9
    assert np.mean(marked) > 0.98


@pytest.mark.parametrize("size", [10, 12, 14])
def test_thin_letters_of_a_word_are_marked_although_few_of_their_pixels_are_white(size: int) -> None:
    picture = Image.new("L", (220, 160), 12)
    ImageDraw.Draw(picture).text((10, 10), "DAPI 40x", 255, ImageFont.load_default(size=size))
    ink = np.asarray(picture)
    assert annotation_mask(ink)[ink > 120].mean() > 0.98


@pytest.mark.parametrize(("width", "tall", "soft"), [(3, 6, 0.8), (2, 7, 1.2), (4, 4, 1.2)])
def test_small_cells_in_a_row_are_content(width: int, tall: int, soft: float) -> None:
    image = np.full((160, 220), 12, np.float32)
    for column in range(5):
        cv2.ellipse(image, (30 + column * (2 * width + 4), 60), (width, tall), 0, 0, 360, 255.0, -1)
    image = np.clip(cv2.GaussianBlur(image, (0, 0), soft), 0, 255).astype(np.uint8)
    assert annotation_mask(image)[image > 165].mean() < 0.1


@pytest.mark.parametrize(("text", "at", "soft"), [("ABC", 140, 5.0), ("C", 96, 2.0)])
def test_a_soft_cell_beside_letters_and_any_beside_one_letter_is_content(text: str, at: int, soft: float) -> None:
    image = np.full((200, 300), 12, np.float32)
    cv2.circle(image, (at, 48), 10, 450.0, -1)
    image = cv2.GaussianBlur(image, (0, 0), soft)
    image = np.repeat(np.clip(image, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    cell = image[..., 0] > 236
    assert cell.sum() > 100
    cv2.putText(image, text, (60, 58), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 3, cv2.LINE_AA)
    mask = annotation_mask(image)
    assert mask[40:56, 62:76].mean() > 0.5
    assert mask[cell].mean() < 0.3


@pytest.mark.parametrize("letter", ["A", "C", "E"])
def test_white_letters_on_a_light_ground_are_marked(letter: str) -> None:
    base = light_ground()
    assert recall(lettered(base, letter, 255, 26), base) > 0.8


def test_white_bars_on_a_light_ground_are_marked() -> None:
    base = light_ground()
    image = base.copy()
    cv2.rectangle(image, (240, 240), (320, 244), (255, 255, 255), -1)
    assert recall(image, base) > 0.8


@pytest.mark.parametrize(("ground", "ink"), [(12, 0), (20, 0), (243, 255), (232, 255)])
@pytest.mark.parametrize("quality", [None, 85])
def test_letters_that_are_hardly_seen_on_blank_ground_are_marked(ground: int, ink: int, quality: int | None) -> None:
    rng = np.random.default_rng(ground)
    letters = np.zeros((220, 300), np.uint8)
    cv2.putText(letters, "Ctrl 24 h", (60, 120), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 4)
    shade = np.linspace(-3, 3, 300)
    grey = np.where(letters > 0, ink, ground + shade + rng.normal(0, 0.8, letters.shape))
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    mask = annotation_mask(image if quality is None else compose.jpeg(image, quality))
    assert mask[letters > 0].mean() > 0.9
    assert mask[:60].mean() < 0.01


@pytest.mark.parametrize("covered", [False, True])
@pytest.mark.parametrize("ground", ["black", "nuclei"])
def test_a_logo_is_marked_whole(ground: str, covered: bool) -> None:
    image = np.zeros((220, 300, 3), np.uint8) if ground == "black" else fluorescence(peak=150)[:220, :300].copy()
    clean = image.copy()
    cv2.rectangle(image, (200, 150), (285, 185), (33, 59, 158), -1)
    cv2.putText(image, "LEYKA", (207, 175), cv2.FONT_HERSHEY_SIMPLEX, 0.7, WHITE, 2, cv2.LINE_AA)
    if covered:
        cv2.rectangle(image, (225, 180), (268, 186), WHITE, -1)
    for quality in (None, 85):
        mask = annotation_mask(image if quality is None else compose.jpeg(image, quality))
        assert mask[152:184, 202:284].all()
        assert mask[:140, :190].mean() <= annotation_mask(clean)[:140, :190].mean() + 0.002


def test_an_even_coloured_disc_is_content() -> None:
    image = np.full((220, 300, 3), 235, np.uint8)
    for x in (60, 150, 240):
        cv2.circle(image, (x, 110), 38, (240, 100, 120), -1, cv2.LINE_AA)
    assert not annotation_mask(image).any()


def test_small_arrows_on_blank_ground_are_marked() -> None:
    """An arrow as it was seen in a panel of 139 x 183 px: a dozen pixels long, strokes of two to three."""
    ink = """
     64 103 152 202 229 142  12   0  10
    238 236 213 147 103  43   0   0   2
    228 248 198  22   0   0   3   0   4
    201 163 209 228  50   0   0   0   8
    157 209  25 164 248 100   0  11   0
     99 221   5   6  99 251 163   6   1
     38 149  53   0   0  46 244 212  24
      1   0   0   9   9   0  13 197 245
      4   0   5   0   0   0   9   0   8"""
    arrow = np.array([row.split() for row in ink.strip().splitlines()], np.uint8)
    image = np.full((183, 139), 252, np.uint8)
    image[126:135, 87:96] = 255 - np.maximum(arrow, 3)
    assert annotation_mask(image)[126:135, 87:96][arrow > 128].mean() > 0.9


def test_a_cell_that_saturates_on_blank_dark_ground_is_content() -> None:
    rng = np.random.default_rng(3)
    cell = np.zeros((220, 300), np.float32)
    cv2.ellipse(cell, (150, 110), (30, 20), 20, 0, 360, 320, -1)
    image = np.clip(cv2.GaussianBlur(cell, (0, 0), 2) + rng.normal(15, 1, cell.shape), 0, 255).astype(np.uint8)
    assert not annotation_mask(image).any()


@pytest.mark.parametrize("level", [185, 200, 225])
@pytest.mark.parametrize("quality", [None, 80])
def test_grey_letters_on_a_black_ground_are_marked(level: int, quality: int | None) -> None:
    base = fluorescence(peak=70)[:172, :230]
    image = lettered(base, "C", level, 22)
    assert recall(image if quality is None else compose.jpeg(image, quality), base, 80) > 0.85


@pytest.mark.parametrize("factor", [0.6, 2.0])
def test_letters_of_a_scaled_picture_are_marked(factor: float) -> None:
    base = fluorescence(peak=90)[:200, :260]
    image = lettered(base, "E", 215, 30)
    size = (round(260 * factor), round(200 * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    before, after = (np.asarray(cv2.resize(part, size, interpolation=how), np.uint8) for part in (base, image))
    assert recall(after, before, 50) > 0.8


def test_large_letters_are_marked() -> None:
    base = light_ground()
    assert recall(lettered(base, "E", 10, 52), base) > 0.8


@pytest.mark.parametrize("ground", ["nuclei", "grey"])
@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("quality", [None, 85])
def test_the_box_under_a_letter_is_marked(ground: str, ink: int, quality: int | None) -> None:
    if ground == "nuclei" and ink == 255:
        pytest.skip("a black box on a black ground cannot be seen")
    base = grounds()[ground]
    image = base.copy()
    image[:40, :38] = 255 - ink
    image = lettered(image, "A", ink, 22)
    assert recall(image if quality is None else compose.jpeg(image, quality), base, 60) > 0.9


@pytest.mark.parametrize("level", [60, 200])
@pytest.mark.parametrize("quality", [None, 85])
def test_grey_outlines_are_marked(level: int, quality: int | None) -> None:
    base = grounds()["grey"]
    image = base.copy()
    cv2.rectangle(image, (60, 80), (200, 190), (level,) * 3, 1)
    assert recall(image if quality is None else compose.jpeg(image, quality), base, 40) > 0.7


@pytest.mark.parametrize("seed", range(4))
def test_colonies_are_content(seed: int) -> None:
    strip = pairs.byte(strips.spots(np.random.default_rng(seed), 3, 4, 0.5))
    assert annotation_mask(strip).mean() < 0.02


def test_small_nuclei_are_content_but_for_a_rare_cluster() -> None:
    covered = []
    for seed in range(4):
        small = cv2.resize(fluorescence(seed, 180), (180, 180), interpolation=cv2.INTER_AREA)
        covered.append(float(annotation_mask(np.asarray(small, np.uint8)).mean()))
    assert np.mean(covered) < 0.01
