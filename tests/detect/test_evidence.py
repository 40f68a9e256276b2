"""The numbers behind an alignment, and the refusals: each on pictures where it alone decides."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.detect.scenes import byte, real, scene
from tests.detect.test_dense import strip

from twinscope.detect import align, candidates, embed, evidence, features, heat, judge, keypoints
from twinscope.settings import Settings

SETTINGS = Settings(threads=1)
STRAIGHT = align.Alignment(np.eye(3), False, 0, np.zeros((0, 2)), np.zeros((0, 2)))


def measured(a: np.ndarray, b: np.ndarray) -> dict[str, float] | None:
    va, vb = (features.view(x, SETTINGS.features) for x in (a, b))
    return evidence.measure(va, vb, STRAIGHT, evidence.frame(va, vb, STRAIGHT), SETTINGS.evidence)


def grain(seed: int, size: tuple[int, int] = (240, 300)) -> np.ndarray:
    fine = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal(size).astype(np.float32), (0, 0), 2.5)
    return fine / fine.std()


@pytest.mark.parametrize(("share", "told"), [(0.2, False), (0.7, True)])
def test_pictures_that_hardly_agree_are_refused(share: float, told: bool) -> None:
    common, other = grain(1), grain(2)
    a = byte(0.5 + 0.12 * common)
    b = byte(0.5 + 0.12 * (share * common + np.sqrt(1 - share**2) * other))
    numbers = measured(a, b)
    assert (numbers is not None) == told
    if numbers is not None:
        assert numbers["correlation_1"] == pytest.approx(share, abs=0.06)
        assert numbers["second"] < 0.5 * numbers["correlation_1"]


@pytest.mark.parametrize("pitch", [17, 24, 30])
def test_a_repeated_texture_is_refused_although_it_agrees(pitch: float) -> None:
    y, x = np.mgrid[0:240, 0:300].astype(np.float32)
    u, v = 0.8 * x + 0.6 * y, 0.8 * y - 0.6 * x
    wave = 0.5 + 0.2 * np.cos(2 * np.pi * u / pitch) + 0.15 * np.cos(2 * np.pi * v / pitch)
    assert measured(byte(wave), byte(wave)) is None
    broken = wave + 0.15 * grain(3)
    assert measured(byte(broken), byte(broken)) is not None


def lanes(vary: float, noise: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    x, y = np.arange(360), np.arange(90)[:, None]
    blot = np.full((90, 360), 0.85)
    for lane in range(12):
        dark, wide, high, down = 1 + vary * rng.standard_normal(4)
        across = np.exp(-(((x - 30 * lane - 15) / (9 * wide)) ** 4))
        blot -= 0.55 * dark * across * np.exp(-(((y - 45 - 8 * (down - 1)) / (9 * high)) ** 2))
    return byte((blot + np.random.default_rng(noise).normal(0, 0.01, blot.shape)).clip(0, 1))


@pytest.mark.parametrize(("vary", "told"), [(0.02, False), (0.16, True)])
def test_lanes_of_a_blot_are_told_apart_from_a_grating_where_the_pictures_agree(vary: float, told: bool) -> None:
    numbers = measured(lanes(vary, 1), lanes(vary, 2))
    assert (numbers is not None) == told
    if numbers is not None:
        assert numbers["correlation_1"] > 0.95
        assert 0.88 < numbers["second"] / numbers["correlation_1"] < 0.95


@pytest.mark.parametrize(("agree", "matches", "told"), [(8, 30, False), (8, 10, True), (30, 90, True)])
def test_few_keypoints_on_lanes_may_agree_by_the_repeat(agree: int, matches: int, told: bool) -> None:
    va, vb = (features.view(lanes(0.28, noise), SETTINGS.features) for noise in (1, 2))
    points = np.zeros((agree, 2))
    aligned = STRAIGHT._replace(matches=matches, points_a=points, points_b=points)
    shared = evidence.frame(va, vb, aligned)
    numbers = evidence.measure(va, vb, aligned, shared, SETTINGS.evidence)
    assert (numbers is not None) == told
    if numbers is not None:
        assert 0.73 < numbers["second"] / numbers["correlation_1"] < 0.88


def test_smooth_pictures_drowned_in_noise_are_shrunk_first() -> None:
    soft = cv2.resize(strip(7)[:, :120], None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    noisy = soft + np.random.default_rng(0).normal(0, 0.06, soft.shape)
    numbers = measured(byte(soft), byte(noisy.clip(0, 1)))
    assert numbers is not None
    assert numbers["correlation_1"] > 0.95
    assert numbers["width"] > 15
    kept = SETTINGS.evidence.model_copy(update={"drowned": 0.0})
    va, vb = (features.view(byte(x.clip(0, 1)), SETTINGS.features) for x in (soft, noisy))
    plain = evidence.measure(va, vb, STRAIGHT, evidence.frame(va, vb, STRAIGHT), kept)
    assert plain is None or plain["correlation_1"] < 0.8


def test_where_shrunk_pictures_say_less_the_measure_of_the_whole_ones_stays() -> None:
    """Fine detail that agrees, on shade that does not: coarser pictures would show the shade alone."""
    rng = np.random.default_rng(3)
    detail = cv2.GaussianBlur(rng.standard_normal((240, 360)).astype(np.float32), (0, 0), 3)
    shades = (cv2.GaussianBlur(rng.standard_normal((240, 360)).astype(np.float32), (0, 0), 14) for _ in range(2))
    a, b = (0.5 + 0.13 * shade / shade.std() + 0.06 * detail / detail.std() for shade in shades)
    va, vb = (features.view(byte(x.clip(0, 1)), SETTINGS.features) for x in (a, b))
    shared = evidence.frame(va, vb, STRAIGHT)
    drowned = SETTINGS.evidence.model_copy(update={"drowned": 0.99, "width_px": 2.0})
    plain = evidence.measure(va, vb, STRAIGHT, shared, drowned.model_copy(update={"drowned": 0.0}))
    assert plain is not None
    assert evidence.measure(va, vb, STRAIGHT, shared, drowned) == plain


def test_only_clean_ground_counts() -> None:
    a, b = real(scene(71)), real(scene(71))
    b[:, 150:] = real(scene(72))[:, 150:]
    va, vb = (features.view(byte(x), SETTINGS.features) for x in (a, b))
    shared = evidence.frame(va, vb, STRAIGHT)
    left = np.zeros_like(shared.clean)
    left[:, : 140 * shared.seen.shape[1] // 300] = True
    half = evidence.measure(va, vb, STRAIGHT, shared._replace(clean=left), SETTINGS.evidence)
    assert half is not None
    assert half["correlation_1"] > 0.98
    whole = evidence.measure(va, vb, STRAIGHT, shared, SETTINGS.evidence)
    assert whole is None or whole["correlation_1"] < 0.8


def test_normalised_pictures_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(3)
    pictures = [cv2.GaussianBlur(rng.random((70, 90), np.float32), (0, 0), 2) for _ in range(2)]
    mask = np.ones((70, 90), np.bool_)
    mask[10:30, 40:70] = False
    weight = mask.astype(np.float64)

    def blur(x: np.ndarray, sigma: float) -> np.ndarray:
        return cv2.GaussianBlur(np.asarray(x, np.float64), (0, 0), sigma)

    fine_share, share = (np.maximum(blur(weight, sigma), 1e-3) for sigma in (1.1, 4))  # none deep within the hole
    found = evidence.all_normalised(pictures, mask, 1.1, 4.0)
    for picture, (normal, spread) in zip(pictures, found, strict=True):
        fine = blur(picture * weight, 1.1) / fine_share * weight
        mean = blur(fine, 4) / share
        deviation = np.sqrt(np.maximum(blur(fine**2, 4) / share - mean**2, 0))
        expected = (fine - mean) / (deviation + 0.1 * fine[mask].std() + 0.6 / 255) * weight
        assert np.abs(spread - deviation)[mask].max() < 1e-3
        assert np.abs(normal - expected).max() < 2e-2
        assert not normal[~mask].any()
        alone = evidence.normalised(picture, mask, 1.1, 4.0)
        assert np.array_equal(alone[0], normal)
        assert np.array_equal(alone[1], spread)
    nothing = evidence.normalised(pictures[0], np.zeros((70, 90), np.bool_), 1.1, 4.0)
    assert not nothing[0].any()


def test_masked_ink_leaves_no_halo_that_agrees() -> None:
    ink = np.zeros((240, 300), np.uint8)
    for letter, x, y in (("K", 20, 40), ("R", 90, 130), ("E", 210, 60), ("S", 150, 210), ("W", 250, 180)):
        cv2.putText(ink, letter, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1, 2)
    a, b = (np.where(ink > 0, 1.0, 0.3 + 0.004 * grain(seed)).astype(np.float32) for seed in (1, 2))
    sensitive = SETTINGS.evidence.model_copy(update={"flat": 0.001})
    va, vb = (features.view(byte(x), SETTINGS.features) for x in (a, b))
    clean = cv2.dilate(ink, np.ones((3, 3), np.uint8)) == 0
    shared = evidence.frame(va, vb, STRAIGHT)._replace(a=a, b=b, clean=clean, seen=np.ones_like(clean))
    assert evidence.measure(va, vb, STRAIGHT, shared, sensitive) is None
    assert evidence.measure(va, vb, STRAIGHT, shared._replace(b=a), sensitive) is not None


def test_a_shrunk_copy_is_compared_without_aliasing() -> None:
    a = byte(0.5 + 0.15 * np.random.default_rng(4).standard_normal((400, 400)).astype(np.float32))
    small = cv2.resize(a, (100, 100), interpolation=cv2.INTER_AREA)
    va, vb = (features.view(x, SETTINGS.features.model_copy(update={"enlarge": 1.0})) for x in (a, small))
    none = np.zeros((0, 2))
    shrink = align.Alignment(np.diag([0.25, 0.25, 1]), False, 0, none, none)
    shrink.transform[:2, 2] = -0.375
    shared = evidence.frame(va, vb, shrink)
    inner = (slice(4, -4), slice(4, -4))
    assert np.corrcoef(shared.a[inner].ravel(), shared.b[inner].ravel())[0, 1] > 0.85


def test_the_network_sees_what_both_show_and_nothing_drawn() -> None:
    picture = scene(5)
    drawn = picture.copy()
    cv2.rectangle(drawn, (30, 200), (110, 208), 255, -1)
    move = np.eye(3)
    move[0, 2] = -60
    va, vb = features.view(picture, SETTINGS.features), features.view(drawn[:, 45:], SETTINGS.features)
    inner = vb.to_work @ np.array([[1, 0, -45], [0, 1, 0], [0, 0, 1.0]]) @ np.linalg.inv(va.to_work)
    shared = evidence.frame(va, vb, STRAIGHT._replace(transform=inner))
    a, b = evidence.registered(shared)
    assert a.shape == b.shape == (embed.SIDE_PX, embed.SIDE_PX)
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 8
    assert np.abs(a.astype(int) - embed.prepare(picture[:, 45:]).astype(int)).mean() < 4


def measured_as(
    frame: evidence.Frame, numbers: dict[str, float], alignment: align.Alignment = STRAIGHT
) -> judge.Measured:
    planes = heat.given(frame.a, frame.b, frame.clean, alignment.inverted, judge.SEEN_PX)
    return judge.Measured(alignment, numbers, evidence.registered(frame, alignment.inverted), planes)


def test_the_networks_tell_a_copy_from_another_picture_on_aligned_ground() -> None:
    copy = byte(real(scene(6)) ** 0.8)
    views = [features.view(image, SETTINGS.features) for image in (scene(6), copy, scene(7))]
    told = [measured_as(evidence.frame(views[0], other, STRAIGHT), {"votes": 3.0}) for other in views[1:]]
    near, far = judge.with_networks(told, 1)
    assert near["votes"] == far["votes"] == 3.0
    assert near["registered"] < 0.3 < 0.6 < far["registered"]
    assert near["distinct"] < -4 < 2 < far["distinct"]
    for numbers, one in zip((near, far), told, strict=True):
        share = np.clip(heat.ask([one.planes], 1)[0].classes[-1], 1e-4, 1 - 1e-4)
        assert numbers["distinct"] == pytest.approx(np.log(share / (1 - share)), abs=1e-3)
    assert judge.with_networks([], 1) == []


def test_what_the_comparator_is_sure_of_stays_a_number() -> None:
    blank = np.zeros((heat.PLANES, 32, 32), np.float32)
    frame = evidence.frame(*[features.view(scene(6), SETTINGS.features)] * 2, STRAIGHT)
    one = measured_as(frame, {})
    answers = iter([[heat.Heat(blank[0], np.array([1, 0, 0], np.float32))], [heat.Heat(blank[0], np.eye(3)[2])]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heat, "ask", lambda planes, threads: next(answers))
        sure, unsure = (judge.with_networks([one], 1)[0]["distinct"] for _ in range(2))
    assert sure == pytest.approx(-9.21, abs=0.01)
    assert unsure == pytest.approx(9.21, abs=0.01)


def test_an_alignment_is_judged_at_a_smaller_size_than_a_finding() -> None:
    view = features.view(scene(6), SETTINGS.features)
    frame = evidence.frame(view, view, STRAIGHT)
    assert max(measured_as(frame, {}).planes.shape[1:]) == judge.SEEN_PX < heat.SIDE_PX
    assert max(heat.given(frame.a, frame.b, frame.clean, False).shape[1:]) > judge.SEEN_PX


@pytest.mark.parametrize("least", [1, 2, 3, 61, 112, 135, 224, 400])
def test_sides_for_fourier_transforms_are_even_and_of_small_factors(least: int) -> None:
    side = evidence.fast_side(least)
    assert side >= least
    assert side % 2 == 0
    assert side <= 1.35 * least + 2
    for factor in (2, 3, 5):
        while side % factor == 0:
            side //= factor
    assert side == 1


def test_crossed_spectra_are_the_sums_at_every_shift() -> None:
    rng = np.random.default_rng(6)
    p, q = (rng.normal(size=(7, 9)).astype(np.float32) for _ in range(2))
    size = (evidence.fast_side(14), evidence.fast_side(18))
    found = evidence.crossed(evidence.spectrum(p, size), evidence.spectrum(q, size))
    assert found.shape == size
    wide = np.zeros((21, 27), np.float32)
    wide[7:14, 9:18] = p
    for y in range(-6, 7):
        for x in range(-8, 9):
            expected = float((wide[7 + y : 14 + y, 9 + x : 18 + x] * q).sum())
            assert found[y, x] == pytest.approx(expected, abs=1e-4)


def test_the_tones_of_a_picture_are_counted_inside_a_mask() -> None:
    picture = np.float32([[0.0, 0.0, 1.0, 1.0], [0.25, 0.5, 0.75, 0.1]])
    mask = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    assert evidence._tones(picture, mask) == pytest.approx(2)
    assert evidence._tones(picture, ~mask) == pytest.approx(4)
    assert evidence._tones(picture, np.ones_like(mask)) == pytest.approx(np.sqrt(4 * 8))  # entropy ln 4 / 2 + ln 8 / 2
    assert evidence._tones(picture, np.zeros_like(mask)) == 1


@pytest.mark.parametrize("inverted", [False, True])
def test_to_the_network_a_clipped_copy_is_the_same(inverted: bool) -> None:
    whole = real(scene(6))
    clipped = np.clip((whole**0.7 - 0.45) * 3, 0, 1)
    copy, other = (byte(1 - x if inverted else x) for x in (clipped, np.clip((real(scene(7)) - 0.5) * 2 + 0.5, 0, 1)))
    views = [features.view(image, SETTINGS.features) for image in (scene(6), copy, other)]
    straight = STRAIGHT._replace(inverted=inverted)

    def apart(pictures: tuple[np.ndarray, np.ndarray]) -> float:
        points = embed.embed(list(pictures), threads=1)
        return float(np.linalg.norm(points[0] - points[1]))

    as_they_are = apart((embed.prepare(scene(6)), embed.prepare(copy)))
    for a, b in ((0, 1), (1, 0)):
        near = apart(evidence.registered(evidence.frame(views[a], views[b], straight), inverted))
        assert near < 0.25 < 0.5 * as_they_are
    assert apart(evidence.registered(evidence.frame(views[0], views[2], straight), inverted)) > 0.6


def test_the_picture_of_more_tones_is_given_those_of_the_other() -> None:
    steps = byte(np.where(real(scene(6)) > 0.5, 0.8, 0.2))
    views = [features.view(image, SETTINGS.features) for image in (scene(6), steps)]
    for a, b in ((0, 1), (1, 0)):
        pictures = evidence.registered(evidence.frame(views[a], views[b], STRAIGHT))
        assert np.abs(pictures[a].astype(int) - pictures[b].astype(int)).mean() < 12
        assert all(40 < np.quantile(one, 0.02) < 70 and 190 < np.quantile(one, 0.98) < 215 for one in pictures)


def test_each_pair_is_told_by_its_most_probable_alignment() -> None:
    views = [features.view(image, SETTINGS.features) for image in (scene(6), byte(real(scene(6)) ** 0.8))]
    wrong = STRAIGHT._replace(transform=np.array([[1, 0, 3], [0, 1, 2], [0, 0, 1.0]]))
    measured = []
    for alignment in (wrong, STRAIGHT):
        frame = evidence.frame(*views, alignment)
        lenient = SETTINGS.evidence.model_copy(update={"least": 0.0, "periodic": 1.0})
        numbers = evidence.measure(*views, alignment, frame, lenient) or {}
        measured.append(measured_as(frame, {**numbers, "dense": 1.0}, alignment))
    assert all(len(one.numbers) > 1 for one in measured)
    empty = candidates.Candidate(0, 2, keypoints.NO_VOTE)
    found = list(judge.most_probable([(empty, []), (empty._replace(b=1), measured)], 1))
    assert [(one.a, one.b) for one in found] == [(0, 1)]
    assert found[0].alignment is STRAIGHT
    assert found[0].numbers["registered"] < 0.3
