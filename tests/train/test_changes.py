"""Pairs for the comparator: what they promise about flow, change and label, for every kind and class."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twinscope import manipulate as m  # noqa: E402
from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import changes, data, drawn, stock, wear  # noqa: E402

SIZE = 112


@lru_cache
def pictures(count: int = 6, colour: bool = False) -> data.Bytes:
    """Return drawn windows, 256x256 RGB uint8, of families that have nothing in common."""
    grey = np.stack([drawn.family(np.random.default_rng(k), [k])[0] for k in range(count)])
    out = np.repeat(grey[..., None], 3, 3)
    if colour:
        out[..., 2] = out[..., 2] // 2 + 40
    return out


def smooth(size: int = SIZE, seed: int = 0) -> data.Bytes:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((size, size)), (0, 0), 4)
    grey = np.rint((noise - noise.min()) / (noise.max() - noise.min()) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def make(kind: str, seed: int = 0, window: data.Bytes | None = None, **more: object) -> changes.Pair:
    parts = pictures()
    shown = parts[seed % 6] if window is None else window
    others = [parts[(seed + 1) % 6], parts[(seed + 2) % 6]]
    return changes.pair(shown, others, np.random.default_rng(seed), kind, SIZE, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(changes.KINDS))
@pytest.mark.parametrize("colour", [False, True])
def test_every_kind_gives_whole_pairs(kind: str, colour: bool) -> None:
    for seed in range(6):
        parts = pictures(6, colour)
        one, again = (
            changes.pair(parts[seed], parts[:seed], np.random.default_rng(seed), kind, SIZE)
            if seed
            else changes.pair(parts[0], parts[1:], np.random.default_rng(seed), kind, SIZE)
            for _ in range(2)
        )
        for a, b in zip(one, again, strict=True):
            assert np.array_equal(a, b)
        for picture in (one.original, one.query):
            assert picture.shape == (SIZE, SIZE, 3)
            assert picture.dtype == np.uint8
        assert one.flow.shape == (SIZE, SIZE, 2)
        assert one.flow.dtype == np.float32
        assert np.isfinite(one.flow).all()
        assert one.seen.dtype == one.changed.dtype == np.bool_
        assert one.seen.shape == one.changed.shape == (SIZE, SIZE)
        assert one.label == {"identical": 0, "benign": 0, "manipulated": 1, "both": 1, "distinct": 2}[kind]
        assert bool(one.how) == (kind != "identical")


def test_identical_pairs_are() -> None:
    one = make("identical")
    assert np.array_equal(one.original, one.query)
    assert not one.changed.any()
    assert one.seen.all()
    assert not one.flow.any()


@pytest.mark.parametrize("seed", range(24))
def test_manipulated_pairs_differ_where_they_say(seed: int) -> None:
    one = make("manipulated", seed)
    gap = np.abs(one.original.astype(int) - one.query).max(2)
    assert 0.01 <= one.changed.mean() <= 0.3
    assert gap[one.changed].mean() >= 255 * changes.LEAST_CHANGE
    assert gap[~one.changed].max() < 255 * changes.LEAST_PIXEL  # the rest of an edit's region, if any
    near = cv2.dilate((gap >= 255 * changes.LEAST_PIXEL - 1e-3).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (near | ~one.changed).all()
    assert 1 <= len(one.how) <= 3
    assert set(one.how) <= set(changes.EDITS)
    assert not one.flow.any()
    assert one.seen.all()


@pytest.mark.parametrize("side", [8, 80])
def test_edits_that_are_too_small_or_too_large_are_drawn_anew(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(image: m.Image, *rest: object) -> tuple[m.Image, m.Mask, str]:
        mask = np.zeros(image.shape[:2], np.bool_)
        mask[:side, :side] = True
        return np.where(mask, 1 - image, image), mask, "erase"

    image = changes.shown(smooth(), SIZE)
    monkeypatch.setattr(changes, "_one_edit", one)
    _, changed, _ = changes.edited(image, [], np.random.default_rng(0))
    assert 0.01 <= changed.mean() <= 0.3
    assert not changed[: side // 2, : side // 2].all()


def test_every_edit_comes_and_none_is_dominant() -> None:
    names = [name for seed in range(60) for name in make("manipulated", seed).how]
    shares = {name: names.count(name) / len(names) for name in changes.EDITS}
    assert min(shares.values()) > 0.02
    assert max(shares.values()) < 0.45


@pytest.mark.parametrize("place", wear.PLACES)
@pytest.mark.parametrize("seed", range(3))
def test_the_flow_leads_back_to_the_original(place: str, seed: int) -> None:
    """Where a place is seen, the query sampled there is the original; without the flow it is not."""
    window = smooth(seed=seed)
    one = make("benign", seed, window, benign=place)
    assert one.how[0] == place
    assert one.seen.mean() > 0.6
    gap = np.abs(changes.aligned(one).astype(int) - one.original).mean(2)
    plain = np.abs(one.query.astype(int) - one.original).mean(2)
    inner = cv2.erode(one.seen.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0) > 0  # no fill mixed in
    assert gap[inner].mean() < 4  # of 255: compression, and being sampled twice
    assert np.quantile(gap[inner], 0.99) < 14
    assert plain[inner].mean() > 2 * gap[inner].mean()


@pytest.mark.parametrize("severity", range(1, 6))
def test_the_flow_follows_elastic_and_zoom(severity: int) -> None:
    window = smooth(seed=3)
    image = changes.shown(window, SIZE)
    for name in m.MOVING:
        move = m.elastic_move((SIZE, SIZE), np.random.default_rng(1), severity)
        elastic = (move,) if name == "elastic" else ()
        one = wear.Wear(m.Move(np.eye(3)), None, ((name, severity),), elastic, 1.0, 95, ())
        query = wear.worn_down(image, one, np.random.default_rng(0))
        flow, seen, _ = wear.flow_of(one.moves(SIZE), SIZE)
        back = cv2.remap(query, m.fields.grid((SIZE, SIZE)) + flow, None, cv2.INTER_LINEAR)
        gap, plain = (np.abs(part - image)[seen].mean() for part in (back, query))
        assert seen.mean() > 0.3
        assert gap < (0.02 if name == "elastic" else 0.75 * plain)


def test_a_place_outside_the_query_is_not_seen() -> None:
    shift = m.Move(np.array([[1, 0, 30], [0, 1, 0], [0, 0, 1]], np.float64))
    back = m.Move(np.array([[1, 0, -30], [0, 1, 0], [0, 0, 1]], np.float64))
    flow, seen, inside = wear.flow_of([shift], 100)
    assert (flow == (30, 0)).all()
    assert np.array_equal(seen, np.broadcast_to(np.arange(100) < 70, (100, 100)))
    assert np.array_equal(inside, seen)
    flow, seen, inside = wear.flow_of([shift, back], 100)  # what was lost does not come back
    assert not flow.any()
    assert np.array_equal(seen, np.broadcast_to(np.arange(100) < 70, (100, 100)))
    assert np.array_equal(inside, seen)


def test_flow_of_a_chain_by_hand() -> None:
    """A mirror, then a shift by 5 px to the left: x goes to 99 - x - 5."""
    mirror = m.Move(np.array([[-1, 0, 99], [0, 1, 0], [0, 0, 1]], np.float64))
    field = np.zeros((100, 100, 2), np.float32)
    field[..., 0] = 5
    flow, seen, _ = wear.flow_of([mirror, m.Move(np.eye(3), field)], 100)
    assert flow[10, 20] == pytest.approx((99 - 20 - 5 - 20, 0), abs=1e-3)
    assert seen[10, 20]
    assert not seen[10, 97]


def test_edits_stay_seen_when_the_picture_moves() -> None:
    for seed in range(30):
        one = make("both", seed)
        assert 0.01 <= one.changed.mean() <= 0.3
        assert one.label == changes.MANIPULATED
        assert set(one.how) & set(changes.EDITS)
        assert one.how[-1].startswith("compressed")
        x, y = ((m.fields.grid((SIZE, SIZE)) + one.flow)[one.changed]).T
        assert min(x.min(), y.min()) > -0.5
        assert max(x.max(), y.max()) < SIZE - 0.5


def test_distinct_pairs_show_the_first_of_the_others() -> None:
    parts = pictures()
    one = changes.pair(parts[0], [parts[1]], np.random.default_rng(0), "distinct", SIZE, benign="compressed")
    other = changes.shown(parts[1], SIZE) * 255
    assert np.abs(one.query[..., 0] - other).mean() < 5
    assert np.abs(one.original[..., 0] - changes.shown(parts[0], SIZE) * 255).max() < 1
    assert one.changed.all()
    assert not one.seen.any()


@pytest.mark.parametrize("name", wear.BENIGN_CLASSES)
def test_each_benign_class_can_be_had_alone(name: str) -> None:
    one = make("benign", 2, pictures(6, True)[2], benign=name)
    steps = [step.split()[0] for step in one.how]
    assert steps == ([name, "compressed"] if name != "compressed" else ["compressed"])
    assert 40 <= int(one.how[-1].split()[1]) <= 90
    assert not one.changed.any()


def test_flips_can_be_switched_off() -> None:
    rng = np.random.default_rng(0)
    drawn_ones = [wear.drawn_wear(rng, SIZE, True, flips=False) for _ in range(300)]
    assert not any("flip" in one.how for one in drawn_ones)
    assert any("flip" in wear.drawn_wear(rng, SIZE, True).how for _ in range(60))
    assert all(np.linalg.det(one.move.transform[:2, :2]) > 0 for one in drawn_ones)


def test_the_groups_of_benign_changes_come_in_thirds() -> None:
    rng = np.random.default_rng(1)
    drawn_ones = [wear.drawn_wear(rng, SIZE, False) for _ in range(900)]
    placed = np.array([bool(set(one.how) & set(wear.PLACES)) for one in drawn_ones])
    worn = np.array([bool(one.corruptions) for one in drawn_ones])
    for found in (placed & ~worn, worn & ~placed, placed & worn):
        assert found.mean() == pytest.approx(1 / 3, abs=0.06)
    seen = {name for one in drawn_ones for name, _ in one.corruptions}
    assert seen == set(m.CORRUPTIONS)
    assert {s for one in drawn_ones for _, s in one.corruptions} == {1, 2, 3, 4, 5}


def test_worn_originals_are_worn_in_every_class() -> None:
    for kind in ("benign", "both", "distinct"):
        plain, worn = (make(kind, 5, worn=odds) for odds in (0.0, 1.0))
        assert np.array_equal(plain.query, worn.query)
        assert not np.array_equal(plain.original, worn.original)
        assert np.abs(plain.original.astype(int) - worn.original).mean() < 6
        assert np.array_equal(plain.changed, worn.changed)


def test_coarse_by_hand() -> None:
    changed = np.zeros((28, 28), np.bool_)
    changed[:4, :2], changed[24:, 24:], changed[12:14, 12:14] = True, True, True
    out = changes.coarse(changed)
    assert out.shape == (7, 7)
    assert out.dtype == np.float32
    assert (out[0, 0], out[6, 6], out[3, 3], out.sum()) == pytest.approx((0.5, 1.0, 0.25, 1.75))
    assert changes.coarse(changed, 28).sum() == changed.sum()


def test_what_cannot_be_made_is_refused() -> None:
    for arguments, words in (
        (("neither",), "no kind"),
        (("benign", 0, None), "no benign change"),
    ):
        with pytest.raises(UsageError, match=words):
            make(*arguments, **({"benign": "rain"} if len(arguments) > 1 else {}))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="another picture"):
        changes.pair(smooth(), [], np.random.default_rng(0), "distinct", SIZE)
    with pytest.raises(UsageError, match="not from train"):
        next(changes.evaluation("train", 1, "benign", 0))


def small_stock() -> stock.Stock:
    images = [pictures()[k] for k in range(4)]
    images = [np.ascontiguousarray(np.tile(image, (2, 2, 1))[:400, :500]) for image in images]
    starts = np.cumsum([0, *(image.size for image in images)])
    found = [
        stock.Picture(int(start), 400, 500, "dsb2018" if k < 2 else "other", k // 2, "fluorescence")
        for k, start in enumerate(starts[:-1])
    ]
    families = np.stack([drawn.family(np.random.default_rng(k + 50), list(range(4))) for k in range(3)])
    return stock.Stock(np.concatenate([image.ravel() for image in images]), found, families, "")


def test_batches_are_balanced_and_come_from_seed_and_step_alone() -> None:
    source = small_stock()
    batches, again = (changes.Batches(source, 7, 6, 64, 5) for _ in range(2))
    first, other = batches[2], batches[3]
    for a, b in zip(again[2], first, strict=True):
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
    assert not np.array_equal(first.original, other.original)
    assert first.original.shape == first.query.shape == (6, 64, 64, 3)
    assert first.flow.shape == (6, 64, 64, 2)
    assert first.seen.shape == first.changed.shape == (6, 64, 64)
    assert len(batches) == 5
    for step in range(5):
        batch = batches[step]
        assert sorted(batch.label) == [0, 0, 1, 1, 2, 2]
        assert (batch.changed.any((1, 2)) == (batch.label > 0)).all()
        assert not any("flip" in how for how in batch.how)
    with pytest.raises(IndexError):
        batches[5]


def test_a_loader_gives_tensors() -> None:
    batches = changes.Batches(small_stock(), 7, 3, 64, 2)
    one = next(iter(torch.utils.data.DataLoader(batches, batch_size=None)))
    assert isinstance(one, changes.Changes)
    assert (one.original.dtype, one.flow.dtype, one.seen.dtype) == (torch.uint8, torch.float32, torch.bool)
    assert torch.equal(one.query, torch.as_tensor(batches[0].query))
    assert one.label.tolist() == batches[0].label.tolist()


def test_lookalikes_show_another_place() -> None:
    source = small_stock()
    batches = changes.Batches(source, 1, 4, 64, 1)
    rng = np.random.default_rng(0)
    box = (0, 0, 200, 200)
    neighbours = []
    for image, name in ((0, "dsb2018"), (2, "other")):
        window = data.Window(image, image // 2, 1, name, "fluorescence", box)
        neighbours += [changes.lookalike(source, batches.fresh.fields, window, rng) for _ in range(12)]
    found = [part for part in neighbours if part is not None]
    assert len(found) > 12
    assert all(part.shape == (256, 256, 3) for part in found)
    family = data.Window(4 + 4 * 1 + 2, 10**6 + 1, 1, "drawn", "drawn", (0, 0, 1, 1))
    for _ in range(8):
        part = changes.lookalike(source, batches.fresh.fields, family, rng)
        assert part is not None
        assert np.array_equal(part[..., 0], part[..., 1])
    # a picture that one window covers has no other place to show
    covered = data.Window(2, 1, 1, "other", "fluorescence", (0, 0, 500, 400))
    assert all(changes.lookalike(source, batches.fresh.fields, covered, rng) is None for _ in range(6))


def test_evaluation_pairs_share_their_originals(shared: Path) -> None:
    kinds = {kind: list(changes.evaluation("val", 6, kind, 3, 64)) for kind in changes.KINDS}
    again = list(changes.evaluation("val", 3, "both", 3, 64))
    for k in range(6):
        originals = [kinds[kind][k].original for kind in changes.KINDS]
        assert all(np.array_equal(one, originals[0]) for one in originals)
    assert all(np.array_equal(a.query, b.query) for a, b in zip(kinds["both"], again, strict=False))
    assert [one.label for one in kinds["distinct"]] == [2] * 6


def test_sources_are_the_groups_of_the_originals_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = [data.Window(k, group, 0, "bccd", "light", (0, 0, 1, 1)) for k, group in enumerate((5, 9, 7))]
    monkeypatch.setattr(changes, "_windows", lambda split, seed: (np.zeros((3, 8, 8, 3), np.uint8), windows))
    assert changes.sources("test", 5, 1) == [5, 9, 7, 5, 9]
