"""What remains between aligned pictures: noise, misfit and tone are no change, an edit is, and it is boxed."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene

from twinscope import geometry
from twinscope import manipulate as m
from twinscope.detect import align, compare, evidence, features
from twinscope.detect.heat import Heat
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)
STRAIGHT = align.Alignment(np.eye(3), False, 0, np.zeros((0, 2)), np.zeros((0, 2)))


def remains(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    va, vb = (features.view(byte(x), SETTINGS.features) for x in (a, b))
    shared = evidence.frame(va, vb, STRAIGHT)
    return compare.residual(shared, shared.a, False, SETTINGS.compare)[0]


def test_noise_leaves_nothing() -> None:
    a = real(scene(81))
    noisy = (a + np.random.default_rng(0).normal(0, 0.3, a.shape)).clip(0, 1).astype(np.float32)
    assert (remains(a, noisy) > 0.35).mean() < 1e-3


def test_nearly_a_pixel_of_misfit_leaves_nothing() -> None:
    a = np.full((240, 300), 0.2, np.float32)
    for x, y in np.random.default_rng(1).uniform((20, 20), (280, 220), (25, 2)):
        cv2.circle(a, (int(x), int(y)), 9, 0.8, -1)
    move = np.array([[1, 0, 0.8], [0, 1, 0.0], [0, 0, 1]])
    assert (remains(a, m.warp(a, move, a.shape[:2]).image)[:, 8:] > 0.35).mean() < 2e-3


def test_an_edit_remains_and_nothing_else() -> None:
    a = real(scene(83))
    edited = m.erase(a, np.random.default_rng(0), centre=(200, 120), radius_px=20, ramp_px=2, value=0.5)
    hot = remains(a, edited.image) > 0.35
    grown = evidence.frame(*[features.view(byte(x), SETTINGS.features) for x in (a, a)], STRAIGHT).seen.shape
    y, x = np.mgrid[0 : grown[0], 0 : grown[1]]
    scale = grown[1] / a.shape[1]
    far = np.hypot(x / scale - 200, y / scale - 120)
    assert hot[far < 12].mean() > 0.5
    assert not hot[far > 32].any()


def test_contents_that_differ_throughout_are_not_told_as_edits() -> None:
    rng = np.random.default_rng(0)
    common = 0.4 * real(scene(84))
    a, b = common.copy(), common.copy()
    for picture in (a, b):  # two stains of one field: the cells of the one are not those of the other
        for x, y in rng.uniform((0, 0), (300, 240), (30, 2)):
            cv2.circle(picture, (int(x), int(y)), 12, 0.9, -1)
    pair = [features.view(byte(x.clip(0, 1)), SETTINGS.features) for x in (a, b)]
    told = compare.compare(*pair, STRAIGHT, evidence.frame(*pair, STRAIGHT), SETTINGS.compare)
    assert told.edits == ()
    assert told.verdict == "benign"
    assert "contents differ throughout, as channels or exposures of one field do" in told.steps


def told(a: np.ndarray, b: np.ndarray) -> compare.Comparison:
    pair = [features.view(byte(x), SETTINGS.features) for x in (a, b)]
    pair = [dataclasses.replace(v, annotated=np.zeros_like(v.annotated)) for v in pair]  # as if no mark were known
    return compare.compare(*pair, STRAIGHT, evidence.frame(*pair, STRAIGHT), SETTINGS.compare)


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_a_blurred_copy_is_benign_and_told_as_blurred(sigma: float) -> None:
    a = real(scene(88))
    soft = cv2.GaussianBlur(a, (0, 0), sigma)
    for one, other, word in ((a, soft, "blurred"), (soft, a, "sharper")):
        result = told(one, other)
        assert (result.verdict, result.edits) == ("benign", ())
        assert (word in result.steps) == (sigma == 4.0)  # what the tone explains needs no blur


def test_an_erased_spot_of_a_blurred_copy_is_found() -> None:
    a = real(scene(88))
    soft = cv2.GaussianBlur(a, (0, 0), 3.0)
    hidden = m.erase(soft, np.random.default_rng(0), centre=(200, 120), radius_px=22, ramp_px=2, value=0.95).image
    result = told(a, hidden)
    assert result.verdict == "manipulated"
    assert len(result.edits) == 1
    assert geometry.iou(result.edits[0].box_b, (178, 98, 222, 142)) > 0.5


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_letter_is_a_mark_and_a_disc_of_its_colour_is_an_edit(level: float) -> None:
    drawn = byte(0.3 + 0.4 * real(scene(89)))
    lettered, spotted = drawn.copy(), drawn.copy()
    cv2.putText(lettered, "B", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.9, int(255 * level), 2, cv2.LINE_AA)
    cv2.circle(spotted, (30, 32), 12, int(255 * level), -1)
    a, lettered, spotted = real(drawn), real(lettered), real(spotted)
    assert told(a, lettered).edits == ()
    assert told(lettered, a).edits == ()
    assert len(told(a, spotted).edits) == 1
    assert len(told(spotted, a).edits) == 1


def test_boxes_and_regions_are_in_the_panels_own_pixels() -> None:
    a = real(scene(87))
    edited = m.erase(a, np.random.default_rng(0), centre=(200, 120), radius_px=16, ramp_px=1, value=0.5).image
    pair = [features.view(byte(x), SETTINGS.features) for x in (a, edited[20:, 30:])]
    move = pair[1].to_work @ np.array([[1, 0, -30.0], [0, 1, -20], [0, 0, 1]]) @ np.linalg.inv(pair[0].to_work)
    shifted = STRAIGHT._replace(transform=move)
    told = compare.compare(*pair, shifted, evidence.frame(*pair, shifted), SETTINGS.compare)
    assert told.region_a == pytest.approx((30, 20, 300, 240), abs=1)
    assert told.region_b == pytest.approx((0, 0, 270, 220), abs=1)
    (edit,) = told.edits
    assert geometry.iou(edit.box_a, (200 - 16, 120 - 16, 200 + 16, 120 + 16)) > 0.5
    assert geometry.iou(edit.box_b, (170 - 16, 100 - 16, 170 + 16, 100 + 16)) > 0.5
    assert told.heat_a.shape == (240, 300)
    assert told.heat_b.shape == (220, 270)
    assert told.heat_b[95:105, 165:175].mean() > 0.5
    assert told.heat_a[115:125, 195:205].mean() > 0.5


def answered(shape: tuple[int, int], classes: tuple[float, float, float], *boxes: tuple[int, int, int, int]) -> Heat:
    """Return an answer of the network for a frame shown as it is: hot in boxes (px of the frame)."""
    hot = np.zeros((-(-shape[0] // 16) * 8, -(-shape[1] // 16) * 8), np.float32)
    for x0, y0, x1, y1 in boxes:
        hot[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = 1
    return Heat(hot, np.array(classes, np.float32))


def looked(seen: np.ndarray | None = None, clean: np.ndarray | None = None) -> tuple[features.View, compare.Look]:
    """Return a view of 200 x 160 px, and a look of it at itself in which not all is seen or clean."""
    view = features.view(scene(90, (200, 160)), SETTINGS.features)
    view = dataclasses.replace(view, annotated=np.zeros_like(view.annotated))
    shared = evidence.frame(view, view, STRAIGHT)
    tone = np.asarray(cv2.resize(shared.a, (160, 200)), np.float32)
    whole = np.ones((200, 160), bool)
    half = np.diag([0.5, 0.5, 1.0])  # 400 x 320 working px to 200 x 160
    shared = evidence.Frame(
        tone, tone, whole if seen is None else seen, whole if clean is None else clean, half, half, ("grey", "grey")
    )
    return view, compare.Look(shared, False, False, (), np.zeros((7, 208, 160), np.float32))


def test_an_edit_is_told_where_the_network_is_hot_and_says_that_one_was_edited() -> None:
    view, look = looked()
    answer = answered((200, 160), (0.2, 0.7, 0.1), (40, 60, 80, 100))
    result = compare.tell(view, view, STRAIGHT, look, answer, SETTINGS.compare)
    (edit,) = result.edits
    assert geometry.iou(edit.box_b, (40, 60, 80, 100)) > 0.85
    assert result.verdict == "manipulated"
    assert result.classes == pytest.approx((2 / 9, 7 / 9))
    assert result.heat_b[80, 60] > 0.9
    assert result.heat_b[20, 20] == 0
    calm = compare.tell(
        view, view, STRAIGHT, look, answer._replace(classes=np.array([0.7, 0.2, 0.1])), SETTINGS.compare
    )
    assert (calm.edits, calm.verdict) == ((), "benign")
    assert calm.heat_b[80, 60] > 0.9  # it is shown, and not told


def test_a_plain_edit_is_told_even_where_the_whole_is_said_to_be_benign() -> None:
    view, look = looked()
    b = look.frame.b.copy()
    b[60:100, 40:80] = 1 - b[60:100, 40:80]
    b[110:, 90:] += 0.02
    edited = look._replace(frame=look.frame._replace(b=b))
    answer = answered((200, 160), (0.9, 0.05, 0.05), (40, 60, 80, 100), (90, 110, 130, 150))
    result = compare.tell(view, view, STRAIGHT, edited, answer, SETTINGS.compare)
    (edit,) = result.edits  # the other hot place differs by next to nothing
    assert geometry.iou(edit.box_b, (40, 60, 80, 100)) > 0.85
    assert result.verdict == "manipulated"
    assert result.classes[1] > 0.9
    noisy = look._replace(frame=look.frame._replace(b=b[::-1, ::-1].copy()))  # differs everywhere
    assert compare.tell(view, view, STRAIGHT, noisy, answer, SETTINGS.compare).edits == ()


def test_the_box_of_an_edit_is_as_tight_in_a_panel_that_is_turned() -> None:
    view, look = looked()
    answer = answered((200, 160), (0, 1, 0))
    cv2.circle(answer.heat, (40, 50), 10, 1.0, -1)  # at half the size
    turned = np.eye(3)
    turned[:2] = cv2.getRotationMatrix2D((160.0, 200.0), 45, 1.0)
    frame = look.frame._replace(to_frame_a=look.frame.to_frame_a @ turned)
    result = compare.tell(view, view, STRAIGHT, look._replace(frame=frame), answer, SETTINGS.compare)
    a, b = result.edits[0].box_a, result.edits[0].box_b
    assert (a.x1 - a.x0, a.y1 - a.y0) == pytest.approx((b.x1 - b.x0, b.y1 - b.y0), rel=0.12)


@pytest.mark.parametrize(
    ("box", "count"),
    [((40, 60, 80, 100), 1), ((100, 0, 140, 14), 0), ((100, 30, 140, 46), 0), ((60, 60, 64, 62), 0)],
    ids=["inside", "outside of what both show", "where something is drawn", "too small"],
)
def test_nothing_is_told_where_nothing_can_be_said(box: tuple[int, int, int, int], count: int) -> None:
    seen = np.ones((200, 160), bool)
    seen[:14] = False
    clean = seen.copy()
    clean[28:48, 90:150] = False
    view, look = looked(seen, clean)
    result = compare.tell(view, view, STRAIGHT, look, answered((200, 160), (0, 1, 0), box), SETTINGS.compare)
    assert len(result.edits) == count
    assert result.unsure_b[:10].all()
    assert result.unsure_b[32:44, 95:145].all()
    assert not result.unsure_b[60:, :80].any()


def test_more_places_than_are_told_one_by_one_are_throughout() -> None:
    view, look = looked()
    boxes = [(8 + 36 * (k % 4), 12 + 36 * (k // 4), 24 + 36 * (k % 4), 30 + 36 * (k // 4)) for k in range(12)]
    many = compare.tell(view, view, STRAIGHT, look, answered((200, 160), (0, 1, 0), *boxes), SETTINGS.compare)
    assert (many.edits, many.verdict) == ((), "benign")
    assert "contents differ throughout, as channels or exposures of one field do" in many.steps
    few = compare.tell(view, view, STRAIGHT, look, answered((200, 160), (0, 1, 0), *boxes[:10]), SETTINGS.compare)
    assert len(few.edits) == 10


def test_where_only_one_is_clipped_nothing_can_be_said_unless_it_is_plain() -> None:
    view, look = looked()
    b = look.frame.b.copy()
    b[100:140, 40:100] = 1.0
    clipped = look._replace(frame=look.frame._replace(b=b))
    result = compare.tell(view, view, STRAIGHT, clipped, answered((200, 160), (1, 0, 0)), SETTINGS.compare)
    assert result.unsure_b[105:135, 45:95].mean() > 0.95
    assert result.unsure_a[:90].mean() < 0.01
    plain = compare.tell(
        view, view, STRAIGHT, clipped, answered((200, 160), (0, 1, 0), (40, 100, 100, 140)), SETTINGS.compare
    )
    assert plain.unsure_b[105:135, 45:95].mean() < 0.05


def test_what_clipping_alone_explains_is_no_edit() -> None:
    view, look = looked()
    level = float(np.quantile(look.frame.a, 0.4))
    b = np.where(look.frame.a < level, np.float32(0), look.frame.a)
    clipped = look._replace(frame=look.frame._replace(b=b))
    dark = cv2.erode((look.frame.a < level).astype(np.uint8), np.ones((3, 3), np.uint8))
    heat = np.asarray(cv2.resize(dark.astype(np.float32), (80, 100), interpolation=cv2.INTER_AREA), np.float32)
    answer = answered((200, 160), (0, 1, 0))
    answer.heat[:100, :80] = heat
    assert (heat > 0.5).sum() > 200
    result = compare.tell(view, view, STRAIGHT, clipped, answer, SETTINGS.compare)
    assert (result.edits, result.verdict) == ((), "benign")
    assert result.unsure_b[dark > 0].mean() > 0.9


def test_an_edit_that_darkens_dark_ground_is_told_though_the_tones_hardly_differ() -> None:
    """It clips a place, not a tone: elsewhere ground that is as dark is left as it was."""
    view, look = looked()
    a = look.frame.a.copy()
    a[50:110, 30:130] = 0.03
    b = a.copy()
    b[60:100, 40:80] = 0.0
    edited = look._replace(frame=look.frame._replace(a=a, b=b))
    answer = answered((200, 160), (0, 1, 0), (40, 60, 80, 100))
    result = compare.tell(view, view, STRAIGHT, edited, answer, SETTINGS.compare)
    (edit,) = result.edits
    assert geometry.iou(edit.box_b, (40, 60, 80, 100)) > 0.85
    assert not result.unsure_b[62:98, 42:78].any()


def test_a_faint_letter_in_an_answer_is_taken_out_and_a_disc_is_not() -> None:
    _, look = looked()
    dim = look._replace(frame=look.frame._replace(a=0.12 + 0.1 * look.frame.a, b=0.12 + 0.1 * look.frame.b))
    lettered, spotted = dim.frame.b.copy(), dim.frame.b.copy()
    lettered[74:78, 50:70] = 0  # a T
    lettered[74:96, 58:62] = 0
    cv2.circle(spotted, (60, 84), 14, 0.0, -1)
    answer = answered((200, 160), (0, 1, 0), (48, 72, 72, 80), (54, 78, 66, 98))
    marked = compare.unmarked(dim._replace(frame=dim.frame._replace(b=lettered)), answer, SETTINGS.compare)
    assert marked is not None
    assert marked.marked
    assert not marked.frame.clean[72:96, 50:70].any()
    assert marked.frame.clean[:60].all()
    assert marked.planes.shape == (7, 208, 160)
    assert not marked.planes[:, 75:95, 52:68].any()
    assert compare.unmarked(dim._replace(frame=dim.frame._replace(b=spotted)), answer, SETTINGS.compare) is None
    assert compare.unmarked(dim, answered((200, 160), (1, 0, 0)), SETTINGS.compare) is None
    letters = SETTINGS.compare.model_copy(update={"letters": True})
    assert compare.unmarked(dim._replace(frame=dim.frame._replace(b=lettered)), answer, letters) is None


@pytest.mark.parametrize("letters", [False, True])
def test_letters_over_a_picture_are_an_edit_where_they_are_to_count(letters: bool) -> None:
    plain = byte(0.7 * real(scene(9)))
    lettered = plain.copy()
    cv2.putText(lettered, "WT 37", (60, 130), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 4, cv2.LINE_AA)
    pair = [features.view(image, SETTINGS.features) for image in (plain, lettered)]
    asked = SETTINGS.compare.model_copy(update={"letters": letters})
    told = compare.compare(*pair, STRAIGHT, evidence.frame(*pair, STRAIGHT), asked)
    written = lettered != plain
    assert told.verdict == ("manipulated" if letters else "benign")
    assert ("letters or marks drawn over" in told.steps) is not letters
    assert bool(told.heat_b[written].mean() > 0.5) is letters
    assert told.unsure_b[written].mean() < 0.2 if letters else told.unsure_b[written].mean() > 0.8


def merged(spot: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a merge of three stains and a grey mixture of two, with a cell as bright as `spot` in a bare place."""
    stains = []
    for stain in range(3):
        rng = np.random.default_rng(1 + stain)
        one = np.zeros((320, 320), np.float32)
        for x, y, r in zip(*rng.integers(10, 310, (2, 30)), rng.integers(6, 14, 30), strict=True):
            cv2.ellipse(one, (int(x), int(y)), (int(r), int(0.8 * r)), 7.0 * x, 0, 360, rng.uniform(0.4, 1), -1)
        cv2.circle(one, (170, 170), 32, 0.0, -1)
        if stain == 1:
            cv2.circle(one, (170, 170), 16, spot, -1)
        one = cv2.GaussianBlur(one, (0, 0), 1.8)
        stains.append((0.8 * one + 0.08 + rng.normal(0, 0.012, one.shape)).clip(0, 1))
    red, green, blue = stains
    return byte(np.dstack([red, green, blue])), byte(0.5 * green + 0.5 * blue)


@pytest.mark.parametrize("colour_is_b", [False, True])
def test_sides_are_those_of_the_panels_where_colours_are_mixed(colour_is_b: bool) -> None:
    views = [features.view(image, SETTINGS.features) for image in (merged(1.0)[1], merged(0.0)[0])]
    a, b = views if colour_is_b else views[::-1]
    shared = evidence.frame(a, b, STRAIGHT)
    seen = compare.look(a, b, STRAIGHT, shared, SETTINGS.compare)
    assert (seen.frame.a is shared.a) is colour_is_b
    assert (seen.frame.b is shared.b) is not colour_is_b
    shown = [224 * v // 320 for v in (152, 152, 188, 188)]  # the network is shown 224 px
    answer = answered((224, 224), (0, 1, 0), (shown[0], shown[1], shown[2], shown[3]))
    result = compare.tell(a, b, STRAIGHT, seen, answer, SETTINGS.compare)
    assert [edit.kind for edit in result.edits] == ["erased" if colour_is_b else "added"]
