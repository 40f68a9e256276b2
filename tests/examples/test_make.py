"""The example manuscript: its truth is true, and it holds what it says."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import make
import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("example") / "manuscript.pdf"
    return path, make.build(path)


@pytest.fixture(scope="module")
def panels(example: tuple[Path, dict[str, Any]]) -> dict[str, NDArray[np.float32]]:
    """Cut every panel out of the rendered page, grey."""
    path, truth = example
    document, out = pypdfium2.PdfDocument(path), {}
    for panel in truth["panels_truth"]:
        x0, y0, x1, _ = panel["box_pt"]
        height, width = panel["size"]
        scale = width / (x1 - x0)
        page = document[panel["page"] - 1].render(scale=scale).to_numpy()[..., ::-1]
        top, left = round(y0 * scale), round(x0 * scale)
        part = np.ascontiguousarray(page[top : top + height, left : left + width])
        out[panel["id"]] = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    document.close()
    return out


def agreement(a: NDArray[np.float32], b: NDArray[np.float32], move: NDArray[np.float64]) -> float:
    """Return the correlation of b with a moved onto it, smoothed, away from letters and bars in the corners."""
    size = (b.shape[1], b.shape[0])
    moved = cv2.warpPerspective(a, move, size)
    inner = np.zeros_like(a)
    inner[a.shape[0] // 8 : -a.shape[0] // 8] = 1
    valid = cv2.warpPerspective(inner, move, size, flags=cv2.INTER_NEAREST) > 0
    edge = max(2, b.shape[0] // 8)
    valid[:edge], valid[-edge:] = False, False
    left, right = cv2.GaussianBlur(moved, (0, 0), 2)[valid], cv2.GaussianBlur(b, (0, 0), 2)[valid]
    return float(np.corrcoef(left, right)[0, 1])


def test_it_holds_six_kinds_of_re_use_and_look_alikes(example: tuple[Path, dict[str, Any]]) -> None:
    path, truth = example
    assert json.loads(path.with_suffix(".json").read_text()) == truth
    assert len({p["category"] for p in truth["pairs"]}) >= 6
    assert {p["kind"] for p in truth["panels_truth"]} == {"micrograph", "blot", "graph", "diagram"}
    assert sum(p["edited"] for p in truth["pairs"]) == 1
    assert len(truth["lookalikes"]) >= 5
    assert len(pypdfium2.PdfDocument(path)) == truth["pages"]


@pytest.mark.parametrize("pair", make.PLANTED, ids=lambda p: f"{p.a}-{p.b}")
def test_a_planted_pair_agrees_once_moved(
    pair: make.Planted, example: tuple[Path, dict[str, Any]], panels: dict[str, NDArray[np.float32]]
) -> None:
    told = next(p for p in example[1]["pairs"] if (p["a"], p["b"]) == (pair.a, pair.b))
    found = agreement(panels[pair.a], panels[pair.b], np.array(told["transform"]))
    assert found < -0.9 if "inverted" in pair.category else found > 0.8


def test_only_planted_pairs_show_the_same_field() -> None:
    looks = make.views()
    planted = {frozenset((p.a, p.b)) for p in make.PLANTED}
    for a, b in itertools.combinations(looks, 2):
        if looks[a].field != looks[b].field or frozenset((a, b)) in planted:
            continue
        corners = np.array([[[0, 0], [400, 0], [400, 330], [0, 330]]], np.float64)
        shown = [cv2.perspectiveTransform(corners, np.linalg.inv(make.place(looks[n], (330, 400))))[0] for n in (a, b)]
        shared, _ = cv2.intersectConvexConvex(*(s.astype(np.float32) for s in shown))
        assert shared == 0, (a, b)


def test_look_alikes_do_not_agree(panels: dict[str, NDArray[np.float32]]) -> None:
    for a, b in (("1A", "1B"), ("2A", "2B"), ("1A", "1C")):
        assert abs(agreement(panels[a], panels[b], np.eye(3))) < 0.4


def test_the_erased_nucleus_lies_in_the_told_box(
    example: tuple[Path, dict[str, Any]], panels: dict[str, NDArray[np.float32]]
) -> None:
    told = next(p for p in example[1]["pairs"] if p["edited"])
    a, b = panels[told["a"]], panels[told["b"]]
    moved = cv2.warpPerspective(a, np.array(told["transform"]), b.shape[::-1])
    apart = cv2.GaussianBlur(np.abs(moved - b), (0, 0), 4)[45:-45, 10:-10]
    y, x = np.unravel_index(int(apart.argmax()), apart.shape)
    assert any(x0 <= x + 10 < x1 and y0 <= y + 45 < y1 for x0, y0, x1, y1 in told["changes"])


def test_the_same_program_gives_the_same_bytes(example: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    make.build(tmp_path / "again.pdf")
    assert (tmp_path / "again.pdf").read_bytes() == example[0].read_bytes()


def test_the_earlier_paper_shows_what_the_manuscript_shows_again(tmp_path: Path) -> None:
    truth = make.build_earlier(tmp_path / "earlier.pdf")
    theirs, ours = truth["again"]
    a, b = make.EARLIER[theirs], make.views()[ours]
    assert a.field == b.field
    drawn = make.fields(np.random.default_rng(make.SEED))[a.field]
    size = (320, 370)
    seen = [make.show(view, drawn, size, np.random.default_rng(0)).image.astype(np.float32) for view in (a, b)]
    move = make.place(b, size) @ np.linalg.inv(make.place(a, size))
    assert agreement(seen[0], seen[1], move) > 0.9
    assert move[0, 0] < 0  # mirrored
    kinds = [panel["kind"] for panel in truth["panels_truth"]]
    assert kinds == ["micrograph"] * 3
    make.build_earlier(tmp_path / "again.pdf")
    assert (tmp_path / "again.pdf").read_bytes() == (tmp_path / "earlier.pdf").read_bytes()


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert make.main([]) == 2
    assert make.main(["a.pdf", "b.png"]) == 2
    assert "usage" in capsys.readouterr().err
