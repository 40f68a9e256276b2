"""From two pictures to evidence: known transforms are found, told and measured; look-alikes are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene

from twinscope import geometry
from twinscope import manipulate as m
from twinscope.detect import align, candidates, compare, evidence, features, judge, keypoints, tone
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)


def views(*images: np.ndarray) -> list[features.View]:
    return [features.view(image, SETTINGS.features) for image in images]


def found(a: np.ndarray, b: np.ndarray) -> tuple[judge.Judged, compare.Comparison] | None:
    pair = views(a, b)
    proposed = candidates.candidates(pair, SETTINGS)
    if not proposed:
        return None
    judged = judge.judge(*pair, proposed[0], SETTINGS)
    if judged is None:
        return None
    frame = evidence.frame(*pair, judged.alignment)
    told = compare.compare(*pair, judged.alignment, frame, SETTINGS.compare)
    return judged, told


def miss(told: compare.Comparison, true: np.ndarray, size: tuple[int, ...]) -> float:
    """The largest distance, in px of b, of a corner of a from where it belongs."""
    frame = geometry.corners((0, 0, size[1], size[0]))
    return float(np.abs(geometry.apply(told.transform, frame) - geometry.apply(true, frame)).max())


STEPS: dict[str, m.Step] = {
    "mirror": lambda x, r: m.reflect(x, r, "left-right"),
    "flip": lambda x, r: m.reflect(x, r, "up-down"),
    "quarter turn": lambda x, r: m.rotate(x, r, 90),
    "any turn": lambda x, r: m.rotate(x, r, 37, fit="expand"),
    "half size": lambda x, r: m.scale(x, r, 0.5),
    "twice the size": lambda x, r: m.scale(x, r, 2.0),
    "quarter of the area": lambda x, r: m.crop(x, r, 0.27),
    "perspective": lambda x, r: m.perspective(x, r, 0.1, fill=0.0),
    "gamma": lambda x, r: m.gamma(x, r, 0.5),
    "inverted": m.invert,
    "compressed": lambda x, r: m.jpeg(x, r, 10),
    "blurred": lambda x, r: m.blur(x, r, 2.0),
    "noisy": lambda x, r: m.noise(x, r, 0.06),
    "chain": lambda x, r: m.chain(x, r, [m.reflect, lambda y, q: m.rotate(y, q, 20), m.invert, m.jpeg]),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_copy_is_found_where_it_is(name: str) -> None:
    image = scene(3)
    done = STEPS[name](real(image), np.random.default_rng(1))
    result = found(image, byte(done.image))
    assert result is not None
    judged, told = result
    assert judged.probability > 0.9
    assert miss(told, done.transform, image.shape) < (4.0 if name == "perspective" else 1.5)
    assert told.verdict == "benign"


def test_steps_tell_what_was_done() -> None:
    image = scene(4)
    done = m.chain(
        real(image),
        np.random.default_rng(0),
        [lambda x, r: m.reflect(x, r, "left-right"), lambda x, r: m.rotate(x, r, -90), lambda x, r: m.gamma(x, r, 0.6)],
    )
    result = found(image, byte(done.image))
    assert result is not None
    assert result[1].steps == ("mirrored left-right", "rotated 90° clockwise", "gamma 0.6")


def test_an_erased_spot_is_boxed_and_nothing_else() -> None:
    image = scene(5)
    done = m.erase(real(image), np.random.default_rng(0), centre=(200, 80), radius_px=22, ramp_px=2, value=0.5)
    result = found(image, byte(done.image))
    assert result is not None
    told = result[1]
    assert told.verdict == "manipulated"
    assert len(told.edits) == 1
    assert geometry.iou(told.edits[0].box_b, (178, 58, 222, 102)) > 0.5
    ys, xs = np.nonzero(told.heat_b > 0.5)
    assert np.hypot(xs - 200, ys - 80).max() < 32
    assert told.heat_a.shape == image.shape


def test_overlapping_windows_share_what_they_share() -> None:
    whole = scene(6, (260, 420))
    a, b = whole[:, :260], whole[:, 160:]
    result = found(a, b)
    assert result is not None
    told = result[1]
    assert told.region_a == pytest.approx((160, 0, 260, 260), abs=1.5)
    assert told.region_b == pytest.approx((0, 0, 100, 260), abs=1.5)
    assert "cropped" in told.steps


@pytest.mark.parametrize("seed", range(4))
def test_neighbouring_windows_that_share_nothing_are_not_a_pair(seed: int) -> None:
    whole = scene(20 + seed, (260, 520))
    result = found(whole[:, :258], whole[:, 262:])
    assert result is None or result[0].probability < 0.5


def test_periodic_textures_are_not_a_pair() -> None:
    y, x = np.mgrid[0:240, 0:240].astype(np.float32)
    rng = np.random.default_rng(0)

    def lattice(phase: float) -> np.ndarray:
        wave = 0.5 + 0.2 * np.cos(2 * np.pi * x / 17 + phase) + 0.2 * np.cos(2 * np.pi * y / 17 + phase)
        return byte(wave + 0.03 * rng.standard_normal(x.shape))

    result = found(lattice(0.3), lattice(2.0))
    assert result is None or result[0].probability < 0.5


def test_a_wide_grating_is_not_a_pair() -> None:
    y, x = np.mgrid[0:360, 0:360].astype(np.float32)
    rng = np.random.default_rng(5)

    def grating(phase: float) -> np.ndarray:
        waves = np.cos(2 * np.pi * x / 90 + phase) + np.cos(2 * np.pi * y / 90 + phase)
        return byte(0.5 + 0.15 * waves + 0.02 * rng.standard_normal(x.shape))

    pair = views(grating(0.3), grating(2.0))
    move = np.eye(3)
    move[:2, 2] = -1.7 / (2 * np.pi) * 90
    none = np.zeros((0, 2))
    alignment = align.Alignment(pair[1].to_work @ move @ np.linalg.inv(pair[0].to_work), False, 0, none, none)
    frame = evidence.frame(*pair, alignment)
    assert evidence.measure(*pair, alignment, frame, SETTINGS.evidence) is None
    lenient = SETTINGS.evidence.model_copy(update={"grating": 2.0})
    assert evidence.measure(*pair, alignment, frame, lenient) is not None


def test_blank_panels_are_not_candidates() -> None:
    rng = np.random.default_rng(0)
    blanks = [byte(np.full((150, 200), level) + 0.004 * rng.standard_normal((150, 200))) for level in (0.0, 0.5, 1.0)]
    assert candidates.candidates(views(*blanks), SETTINGS) == []


def test_nearest_is_mutual_and_distinct() -> None:
    a = np.eye(4, 8, dtype=np.float32)
    b = np.eye(4, 8, dtype=np.float32)[[2, 0, 1, 3]]
    i, j = keypoints.nearest(a, b, 0.9)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (1, 2), (2, 0), (3, 3)]
    twins = np.concatenate([b, b[:1]])
    i, _ = keypoints.nearest(a, twins, 0.9)
    assert 2 not in i.tolist()


def test_fit_finds_the_affine_map_among_outliers() -> None:
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 300, (60, 2))
    true = np.array([[0.8, -0.3, 20], [0.2, 1.1, -5], [0, 0, 1.0]])
    target = geometry.apply(true, source)
    target[40:] = rng.uniform(0, 300, (20, 2))
    fitted = align.fit(source, target, SETTINGS.align)
    assert fitted is not None
    model, inlier = fitted
    assert np.abs(model - true).max() < 0.05
    assert inlier[:40].all()
    assert inlier[40:].sum() <= 2


@pytest.mark.parametrize(
    "transform",
    [
        np.diag([0.05, 0.05, 1.0]),
        np.diag([3.0, 0.5, 1.0]),
        np.array([[1, 0, 500], [0, 1, 0], [0, 0, 1.0]]),
        np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]]),
        np.full((3, 3), np.nan),
    ],
)
def test_degenerate_transforms_are_refused(transform: np.ndarray) -> None:
    assert not align.sound(transform, (200, 200), (200, 200), SETTINGS.align)


def test_overlap_by_hand() -> None:
    shift = np.array([[1, 0, 50], [0, 1, 0], [0, 0, 1.0]])
    assert align.overlap(shift, (100, 100), (100, 100)) == pytest.approx(0.5)
    assert align.overlap(shift @ geometry.mirror(100), (100, 100), (100, 100)) == pytest.approx(0.51)


def test_peak_stands_out_only_where_shifting_matters() -> None:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.standard_normal((160, 160)).astype(np.float32), (0, 0), 2)
    everywhere = np.ones(noise.shape, bool)
    value, z, second, _ = evidence.peak(noise, noise, everywhere)
    assert value == pytest.approx(1, abs=1e-3)
    assert z > 8
    assert second < 0.5
    wave = np.cos(2 * np.pi * np.arange(160) / 16)[None].repeat(160, 0).astype(np.float32)
    value, _, second, _ = evidence.peak(wave, wave, everywhere)
    assert value - second < 0.05


@pytest.mark.parametrize(
    ("curve", "told"),
    [
        (lambda x: x, ()),
        (lambda x: x**2.0, ("gamma 2",)),
        (lambda x: 0.7 * x + 0.15, ("contrast × 0.70",)),
        (lambda x: 1 - x, ("inverted",)),
        (lambda x: x + 0.1, ("brightness +10 %",)),
        (lambda x: 0.02 * x + 0.5, ("tone curve changed",)),  # no "contrast × 0.02", nor "× -0.00"
    ],
)
def test_tone_in_words(curve: object, told: tuple[str, ...]) -> None:
    a = np.clip(real(scene(7)) * 0.8 + 0.08, 0, 1)
    b = np.clip(curve(a), 0, 1).astype(np.float32)  # type: ignore[operator]
    result = tone.tone(a, b, np.ones(a.shape, bool), told == ("inverted",))
    assert tuple(s for s in result.steps if not s.startswith("brightness × ")) == told
    assert np.abs(result.predicted - b).mean() < 0.01


@pytest.mark.parametrize(("rare", "counted"), [(4, False), (5, True)])
def test_a_level_of_fewer_than_five_pixels_says_nothing_of_the_curve(rare: int, counted: bool) -> None:
    x = np.repeat(np.float32([0.1, 0.4, 0.6, 0.8]), [rare, 64, 60, 76 - rare])
    levels, medians, weights = tone._curve(x, np.where(x == np.float32(0.1), np.float32(1), x))
    assert (levels[0] == pytest.approx(0.1), medians[0] == pytest.approx(1.0)) == (counted, counted)
    assert len(levels) == len(medians) == len(weights)
    assert weights.min() >= 5


@pytest.mark.parametrize("levels", [7, 256, 100000])
def test_a_tone_curve_is_the_running_median_between_quantiles(levels: int) -> None:
    rng = np.random.default_rng(levels)
    x = (np.floor(levels * rng.random(3000) ** 2) / levels).astype(np.float32)
    y = np.clip(0.8 * x + rng.normal(0, 0.05, x.size), 0, 1).astype(np.float32)
    found = tone._curve(x, y)
    edges = np.unique(np.quantile(x.astype(np.float64), np.linspace(0, 1, tone.LEVELS + 1)))
    rows = []
    for k, low in enumerate(edges[:-1]):
        own = (x >= low) & ((x < edges[k + 1]) | (k == len(edges) - 2))
        if own.sum() >= 5:
            rows.append((np.median(x[own]), np.median(y[own]), own.sum()))
    assert len(rows) > 4
    assert np.allclose(np.transpose(found), rows, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_propose_nothing(count: int) -> None:
    assert candidates.candidates(views(*[scene(1)] * count), SETTINGS) == []


def test_correlation_counts_no_border_pixels() -> None:
    """A shift by part of a pixel mixes the border into the outermost pixels: they must not count."""
    rng = np.random.default_rng(0)
    plane = cv2.GaussianBlur(rng.standard_normal((120, 120)).astype(np.float32), (0, 0), 3)
    shift = np.array([[1, 0, 0.37], [0, 1, 20.21], [0, 0, 1.0]])
    moved = cv2.warpPerspective(plane, shift, (120, 120), flags=cv2.INTER_CUBIC)
    everywhere = np.full(plane.shape, 255, np.uint8)
    assert align.correlation_at(plane, moved, align.inverse(shift), everywhere) > 0.99


def merged(spot: bool) -> compare.Comparison:
    """One channel against a merge in false colours, in which cells of another channel show in every colour."""
    first = 0.6 * real(scene(41))
    rng = np.random.default_rng(3)
    other = np.zeros_like(first)
    for x, y in rng.uniform(30, 200, (6, 2)):
        cv2.circle(other, (int(x), int(y)), 12, 0.5, -1)
    other = cv2.GaussianBlur(other, (0, 0), 2)
    merge = byte(np.dstack([first + 0.3 * other, 0.8 * first + 0.5 * other, 0.2 * first + other]).astype(np.float32))
    alone = m.erase(first, np.random.default_rng(0), centre=(90, 120), radius_px=18, ramp_px=2, value=0.5).image
    pair = views(byte(alone if spot else first), merge)
    assert len(pair[1].names) > 1
    straight = align.Alignment(np.eye(3), False, 0, np.zeros((0, 2)), np.zeros((0, 2)))
    return compare.compare(*pair, straight, evidence.frame(*pair, straight), SETTINGS.compare)


def test_other_channels_of_a_merge_are_no_edit_but_an_erased_spot_is() -> None:
    told = merged(spot=False)
    assert (told.verdict, told.edits) == ("benign", ())
    edited = merged(spot=True)
    assert edited.verdict == "manipulated"
    assert len(edited.edits) == 1
    box = edited.edits[0].box_b
    assert box.x0 < 90 < box.x1
    assert box.y0 < 120 < box.y1
