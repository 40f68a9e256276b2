"""Evaluation and calibration against numbers that are worked out by hand: the points are planted, not embedded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twinscope import measure, pixels
from twinscope.detect import vectors
from twinscope.errors import UsageError
from twinscope.ingest.files import Source
from twinscope.settings import Settings


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return a table to fill: each picture lies on a line at the number that its name has here, if it has one."""
    places: dict[str, float] = {}

    def planted(
        sources: Sequence[Source], kept: Path, settings: Settings, progress: object, model: str
    ) -> vectors.Vectors:
        there = [source.path for source in sources if Path(source.path).name in places]
        missing = [source.path for source in sources if source.path not in there]
        rows = np.zeros((len(there), 128), np.float32)
        rows[:, 5] = [places[Path(path).name] for path in there]
        troubles = tuple(vectors.Trouble(path, "failed", "torn") for path in missing)
        return vectors.Vectors(tuple(there), tuple(f"sha of {path}" for path in there), rows, troubles)

    monkeypatch.setattr(vectors, "embedded", planted)
    monkeypatch.setattr(measure, "ROUNDS", 60)
    return places


def table(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def evaluated(path: Path, seed: int = 0) -> measure.Measured:
    return measure.evaluate(path, path.with_name("kept"), Settings(seed=seed))


def test_the_metrics_of_pairs_are_those_of_their_distances(points: dict[str, float], tmp_path: Path) -> None:
    points |= {"a": 0.0, "b": 0.5, "c": 1.2, "d": 3.0, "e": 4.0}
    path = table(tmp_path, "a,b,same", "a,b,1", "a,c,TRUE", "a,d,0", "d,e,false", "b,d,0")
    found = evaluated(path)  # same .5 1.2; different 3, 1, 2.5
    assert found.distances.tolist() == pytest.approx([0.5, 1.2, 3.0, 1.0, 2.5])
    values = {name: number and number["value"] for name, number in found.told["metrics"].items()}
    assert values == {
        "accuracy": pytest.approx((1 / 2 + 2 / 3) / 2),
        "best_accuracy": pytest.approx((1 + 2 / 3) / 2),
        "best_border": 1.2,
        "auc": pytest.approx((1 + 2 / 3) / 2),
        "same_within_border": 0.5,
        "different_within_border": pytest.approx(1 / 3),
        "tpr_at_fpr_1e-1": None, "tpr_at_fpr_1e-2": None, "tpr_at_fpr_1e-3": None, "tpr_at_fpr_1e-4": None,
        # a, b, c are one class: a finds b, b finds a, and c finds b (.7) before a
        "ir_at_1": 1.0,
        "ir_at_5": None,
    }  # fmt: skip
    assert found.told["pairs"] == {"given": 5, "measured": 5, "same": 2, "different": 3}
    assert found.troubles == ()
    assert found.of(True).tolist() == pytest.approx([0.5, 1.2])


def test_tpr_is_told_from_as_many_different_pairs_as_its_rate_needs(points: dict[str, float], tmp_path: Path) -> None:
    points |= {f"p{k}": float(k) for k in range(11)} | {"q": 0.5, "r": 1.5}
    lines = [f"p0,p{k},0" for k in range(1, 11)]  # distances 1 to 10
    numbers = evaluated(table(tmp_path, "a,b,same", "p0,q,1", "p0,r,1", *lines)).told["metrics"]
    assert numbers["tpr_at_fpr_1e-1"]["value"] == 1.0  # one of ten may pass: below 2 lie .5 and 1.5
    assert numbers["tpr_at_fpr_1e-2"] is None
    assert evaluated(table(tmp_path, "a,b,same", "p0,q,1", *lines[1:])).told["metrics"]["tpr_at_fpr_1e-1"] is None


def test_intervals_draw_groups_and_not_pairs(points: dict[str, float], tmp_path: Path) -> None:
    points |= {"o": 0.0, "near": 0.5, "far": 2.0}
    same = ["o,near,1,g1"] * 40 + ["o,far,1,g2"] * 40
    path = table(tmp_path, "a,b,same,group", *same, "o,far,0,g1", "o,far,0,g2")
    number = evaluated(path).told["metrics"]["same_within_border"]
    assert (number["value"], number["low"], number["high"]) == (0.5, 0.0, 1.0)
    assert evaluated(path).told["groups"] == 2
    single = table(tmp_path, "a,b,same", *[line[:-3] for line in same], "o,far,0", "o,far,0")
    number = evaluated(single).told["metrics"]["same_within_border"]
    assert 0.3 < number["low"] < 0.5 < number["high"] < 0.7
    assert "as if they were independent" in evaluated(single).told["notes"][0]


def test_the_same_seed_gives_the_same_intervals(points: dict[str, float], tmp_path: Path) -> None:
    points |= {f"p{k}": math.sqrt(k) for k in range(12)}
    path = table(tmp_path, "a,b,same", *[f"p{k},p{(5 * k + 1) % 12},{k % 2}" for k in range(12)])
    assert evaluated(path).told == evaluated(path).told
    assert evaluated(path).told != evaluated(path, seed=1).told


def test_labels_say_which_pictures_are_one_class(points: dict[str, float], tmp_path: Path) -> None:
    points |= {"a": 0.0, "a2": 0.4, "b": 0.3, "b2": 5.0, "c": 9.0, "d": 5.1, "e": 20.0, "f": 30.0}
    lines = ["a,c,0,cell", "a2,e,0,cell", "b,c,0,blot", "b2,f,0,blot", "d,e,0,"]
    numbers = evaluated(table(tmp_path, "a,b,same,class", *lines, "e,e,1,")).told["metrics"]
    # a is nearest to b (.3 against .4), a2 to b (.1), b to a2, b2 to d: none of their own
    assert numbers["ir_at_1"]["value"] == 0.0
    # among 5 of 7: a has b a2 b2 d c, a2 has b a b2 d c, b has a2 a b2, b2 has d c b a2 a
    assert numbers["ir_at_5"]["value"] == 1.0
    assert evaluated(table(tmp_path, "a,b,same", "a,c,0", "e,e,1")).told["metrics"]["ir_at_1"] is None


def test_bad_lines_and_pictures_are_told_and_the_rest_is_measured(points: dict[str, float], tmp_path: Path) -> None:
    points |= {"a": 0.0, "b": 0.5, "c": 3.0}
    lines = ["a,b,1", "a,b,maybe", ",b,1", "a", "a,torn,1", "a,c,0", "b,a,0"]
    found = evaluated(table(tmp_path, "\ufeffA, B ,Same", *lines))
    assert found.told["pairs"] == {"given": 7, "measured": 3, "same": 1, "different": 2}
    assert [trouble.path for trouble in found.troubles] == [
        "pairs.csv, line 3", "pairs.csv, line 4", "pairs.csv, line 5", "line 8", f"{tmp_path.as_posix()}/torn",
    ]  # fmt: skip
    assert "it says 'maybe'" in found.troubles[0].reason
    assert "b and a differ" in found.troubles[3].reason
    assert math.isnan(found.distances[1])


def test_a_folder_whose_name_is_no_text_is_measured(points: dict[str, float], tmp_path: Path) -> None:
    points |= {"a": 0.0, "b": 0.5, "c": 3.0}
    folder = tmp_path / os.fsdecode(b"f\xfc")
    folder.mkdir()
    found = evaluated(table(folder, "a,b,same", "a,b,1", "a,c,0", "a,torn,0"))
    assert found.told["pairs"]["measured"] == 2
    assert [trouble.path for trouble in found.troubles] == [f"{tmp_path.as_posix()}/f%FC/torn"]
    for name in "abc":
        (folder / f"{name}.png").write_bytes(b"")
        points[f"{name}.png"] = points[name]
    told, _ = measure.calibrate(folder, tmp_path / "kept", Settings(), (20,))
    assert told["nearest"][0] == {"a": f"{tmp_path.as_posix()}/f%FC/a.png", "b": f"{tmp_path.as_posix()}/f%FC/b.png",
                                  "distance": 0.5}  # fmt: skip


def test_two_labels_of_one_class_are_told(points: dict[str, float], tmp_path: Path) -> None:
    points |= {"a": 0.0, "b": 0.5, "c": 3.0}
    found = evaluated(table(tmp_path, "a,b,same,label", "a,b,1,cell", "b,c,0,blot"))
    assert [trouble.path for trouble in found.troubles] == ["line 3"]
    assert "labels blot and cell share" in found.troubles[0].reason


def test_pictures_are_drawn_with_their_group_or_else_their_class() -> None:
    usable = [(measure.Pair(2, "a", "b", True, "g", ""), 0, 1), (measure.Pair(3, "b", "c", False, "h", ""), 1, 2)]
    units, classes = np.array([7, 8]), np.array([0, 0, 1])
    assert measure._picture_units(usable, units, classes, grouped=True).tolist() == [7, 7, 8]
    assert measure._picture_units(usable, units, classes, grouped=False).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("same", "name"), [(1, "same_within_border"), (0, "different_within_border")])
def test_pairs_of_one_kind_have_their_share_alone(
    same: int, name: str, points: dict[str, float], tmp_path: Path
) -> None:
    points |= {"a": 0.0, "b": 0.5, "c": 3.0, "d": 3.5}
    numbers = evaluated(table(tmp_path, "a,b,same", *(f"{pair},{same}" for pair in ("a,b", "a,c", "c,d")))).told[
        "metrics"
    ]
    number = numbers.pop(name)
    assert number["value"] == pytest.approx(2 / 3, rel=1e-5)
    assert number["low"] < 2 / 3 < number["high"]
    assert {number for key, number in numbers.items() if not key.startswith("ir")} == {None}
    assert set(evaluated(table(tmp_path, "a,b,same", "x,y,1", "x,z,0")).told["metrics"].values()) == {None}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no column a"),
        (b"a,b\nx,y\n", "no column same"),
        (b"a,b,same\n", "no pair"),
        (b"a,b,same,A\nx,y,1,z\n", "more than one column a; its first line must name each once"),
        (b"a,b,same,label,label\nx,y,1,p,q\n", "more than one column label"),
        (b"a,b,same\nx,y,2\n", "no pair"),
        (b"\xff\xfe\x00a", "cannot be read as a CSV file"),
        (b'a,b,same\n"x,y,1\n', "cannot be read as a CSV file"),
        (b"a,b,same\n" + b"x" * 200_000 + b",y,1\n", "cannot be read as a CSV file"),
    ],
)
def test_what_is_no_table_is_one_sentence(content: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(UsageError, match=word):
        measure.read_pairs(tmp_path / "pairs.csv")


@pytest.mark.parametrize("name", ["b\0.png", "x" * 5000 + ".png"])
def test_a_name_that_no_file_can_have_is_a_trouble_of_its_own(name: str, tmp_path: Path) -> None:
    for k in range(2):
        pixels.write_png(tmp_path / f"{k}.png", np.random.default_rng(k).integers(0, 256, (64, 64), np.uint8))
    found = evaluated(table(tmp_path, "a,b,same", f"0.png,{name},1", "0.png,1.png,0"))
    assert [trouble.path for trouble in found.troubles] == [f"{tmp_path.as_posix()}/{name}"]
    assert found.told["pairs"]["measured"] == 1


def test_pictures_are_looked_for_beside_the_table(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.png", "b.png"):
        pixels.write_png(tmp_path / name, image)
    path = table(tmp_path, "a,b,same", f"sub/a.png,{tmp_path / 'b.png'},1")
    assert evaluated(path).distances.tolist() == [pytest.approx(0.0, abs=1e-5)]


@pytest.mark.parametrize("other", ["sub/../a.png", "link.png", "copy.png"])
def test_one_picture_under_two_names_is_one(other: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for k, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        image = np.random.default_rng(k // 2).integers(0, 256, (64, 64), np.uint8)
        pixels.write_png(tmp_path / name, (image // (1 + k % 2)).astype(np.uint8))
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    lines = ["a.png,b.png,1", "c.png,d.png,1", f"{other},c.png,0"]
    found = evaluated(table(tmp_path, "a,b,same", *lines))
    assert (found.told["pictures"], found.troubles) == (4, ())
    assert found.told["metrics"]["ir_at_1"]["value"] == 1.0
    found = evaluated(table(tmp_path, "a,b,same", *lines, f"a.png,{other},0"))
    assert [trouble.reason for trouble in found.troubles] == [
        f"says that a.png and {other} differ, where they are one picture"
    ]


# --- calibrate --------------------------------------------------------------------------------------------------


def on_a_line(tmp_path: Path, points: dict[str, float], places: Sequence[float], folder: str = "") -> Path:
    """Make a folder of pictures that lie on a line."""
    where = tmp_path / "clean" / folder
    where.mkdir(parents=True, exist_ok=True)
    for place in places:
        name = f"p{place:g}.png"
        (where / name).write_bytes(b"x")
        points[name] = place
    return tmp_path / "clean"


def calibrated(folder: Path, panels: Sequence[int] = (20,)) -> tuple[dict[str, object], list[vectors.Trouble]]:
    return measure.calibrate(folder, folder.with_name("kept"), Settings(), panels)


def test_thresholds_let_their_share_of_pairs_in(points: dict[str, float], tmp_path: Path) -> None:
    folder = on_a_line(tmp_path, points, [2.0**k for k in range(16)])  # 120 distances, all different
    told, troubles = calibrated(folder, (20, 5))
    assert told["pairs"] == 120
    pairs = sorted(2.0**b - 2.0**a for a in range(16) for b in range(a + 1, 16))
    row = told["thresholds"][0]
    assert row["distance"]["value"] == pairs[12]  # below it lie 12 of 120
    assert row["expected_false"] == {"20": pytest.approx(19.0), "5": pytest.approx(1.0)}
    assert row["distance"]["low"] <= row["distance"]["value"] <= row["distance"]["high"]
    assert [(r["distance"], r["pairs_needed"], r["pictures_needed"]) for r in told["thresholds"][1:]] == [
        (None, 1000, 46), (None, 10_000, 142), (None, 100_000, 448),
    ]  # fmt: skip
    border = told["border"]
    assert (border["pairs_within"], border["share"]["value"]) == (1, pytest.approx(1 / 120, rel=1e-5))
    assert border["expected_false"]["20"]["value"] == pytest.approx(190 / 120, rel=1e-5)
    assert troubles == []
    assert [Path(told["nearest"][0][end]).name for end in "ab"] == ["p1.png", "p2.png"]


def test_pictures_needed_make_that_many_pairs(points: dict[str, float], tmp_path: Path) -> None:
    for row in calibrated(on_a_line(tmp_path, points, [0.0, 3.0]))[0]["thresholds"]:
        n = row["pictures_needed"]
        assert n * (n - 1) // 2 >= row["pairs_needed"] > (n - 1) * (n - 2) // 2


def test_pictures_of_one_sub_folder_are_not_compared(points: dict[str, float], tmp_path: Path) -> None:
    on_a_line(tmp_path, points, [0.0, 0.1, 0.2], "slide1")
    folder = on_a_line(tmp_path, points, [5.0, 5.1], "slide2/deep")
    on_a_line(tmp_path, points, [9.0, 9.1])
    told, _ = calibrated(folder)
    assert told["pairs"] == 3 * 2 + 5 * 2 + 1
    assert told["border"]["pairs_within"] == 1  # 9 and 9.1 lie in no sub-folder
    assert told["groups"] == 4
    assert "no intervals" in told["notes"][0]
    assert told["border"]["share"]["low"] is None


def test_the_bootstrap_counts_pairs_of_drawn_groups(points: dict[str, float], tmp_path: Path) -> None:
    places = np.array([0.0, 0.5, 1.5, 4.0, 4.2], np.float32)
    units = np.array([0, 0, 1, 2, 3])
    rows = np.zeros((5, 128), np.float32)
    rows[:, 0] = places
    clean = measure._clean_pairs(rows, units)
    times = np.array([2, 1, 0, 3])
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5) if units[a] != units[b]]
    expected: NDArray[np.int64] = np.array([times[units[a]] * times[units[b]] for a, b in pairs])
    assert clean.total(times) == expected.sum()
    assert clean.counts(times)[-1] == expected.sum()
    near = sum(n for n, (a, b) in zip(expected, pairs, strict=True) if abs(places[a] - places[b]) <= 1.0)
    assert clean.counts(times)[np.searchsorted(clean.distances, 1.0, "right") - 1] == near == 2  # .5 to 1.5


def test_nothing_seen_is_not_nothing_to_expect(points: dict[str, float], tmp_path: Path) -> None:
    told, _ = calibrated(on_a_line(tmp_path, points, [3.0 * k for k in range(20)]))
    share = told["border"]["share"]
    assert (share["value"], share["low"]) == (0.0, 0.0)
    assert share["high"] == pytest.approx(1 - 0.025 ** (1 / 10), rel=1e-5)  # ten pairs that share no picture


def test_many_pairs_give_what_all_of_them_give(
    points: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(0, 0.2, (460, 128)).astype(np.float32)  # 105,570 pairs: the far ones are put away
    clean = measure._clean_pairs(rows, np.arange(460))
    assert len(clean.distances) < clean.pairs == 105_570
    every = np.sort(np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=2)[np.triu_indices(460, 1)])
    for rate in measure.RATES:
        value = measure._threshold(clean, rate, (20,), 0)["distance"]["value"]
        assert value == pytest.approx(every[math.floor(rate * len(every))], rel=1e-4)


def test_a_copy_is_left_out_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    folder.mkdir()
    for k in range(3):
        image = np.random.default_rng(k).integers(0, 256, (64, 64), dtype=np.uint8)
        pixels.write_png(folder / f"p{k}.png", image)
    (folder / "copy.png").write_bytes((folder / "p1.png").read_bytes())
    told, troubles = calibrated(folder)
    assert told["pairs"] == 3
    assert "byte for byte" in troubles[0].reason


def test_pictures_that_are_all_bad_are_told(points: dict[str, float], tmp_path: Path) -> None:
    folder = on_a_line(tmp_path, points, [1.0, 2.0])
    points.clear()
    with pytest.raises(UsageError, match=r"no two pictures .*2 files were left out, such as .*p1.png: torn"):
        calibrated(folder)


@pytest.mark.parametrize("places", [[], [1.0]])
def test_fewer_than_two_pictures_are_too_few(places: list[float], points: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no two pictures"):
        calibrated(on_a_line(tmp_path, points, places))


def test_of_very_many_pictures_some_are_drawn(
    points: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "MOST", 5)
    told, _ = calibrated(on_a_line(tmp_path, points, [float(k) for k in range(12)]))
    assert told["pictures"] == {"found": 12, "used": 5}
