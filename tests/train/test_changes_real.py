"""The pairs that people made: masks that fit, and plain words where a file is missing."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twinscope.errors import UsageError  # noqa: E402
from twinscope.train import changes_real  # noqa: E402


def test_of_the_marked_regions_only_the_copy_has_changed(tmp_path: Path) -> None:
    original = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    forged, mask = original.copy(), np.zeros((60, 80), np.uint8)
    forged[10:30, 50:70] = original[10:30, 10:30]
    mask[10:30, 50:70] = mask[10:30, 10:30] = 255
    for name, image in (("a.png", original), ("b.png", forged), ("m.png", mask)):
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "pairs.csv").write_text("original,forged,mask\na.png,b.png,m.png\n")
    (one,) = changes_real.copymoves(40, tmp_path)
    expected = np.zeros((40, 40), np.bool_)
    expected[7:20, 25:35] = True  # 60x80 to 40x40: rows times 2/3, columns times 1/2
    assert one.changed is not None
    assert np.array_equal(one.changed, expected)
    assert one.flow is not None
    assert not one.flow.any()
    assert one.label == 1
    assert one.original.shape == one.query.shape == (40, 40, 3)


def test_blots_take_the_union_of_both_masks(tmp_path: Path) -> None:
    for name, corner in (("a", 0), ("b", 16)):
        mask = np.zeros((32, 32), np.uint8)
        mask[corner : corner + 8, :8] = 255
        cv2.imwrite(str(tmp_path / f"m{name}.png"), mask)
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.dstack([mask] * 3 + [np.zeros_like(mask)]))  # RGBA, clear
    (tmp_path / "pairs.csv").write_text("a,b,mask_a,mask_b,host,edit\na.png,b.png,ma.png,mb.png,h,auto|gimp_cg\n")
    (one,) = changes_real.blots(16, tmp_path)
    assert one.changed is not None
    assert list(np.flatnonzero(one.changed.any(1))) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert list(np.flatnonzero(one.changed.any(0))) == [0, 1, 2, 3]
    assert one.original.max() == 255
    assert one.how[2:] == ("auto", "gimp_cg")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is missing"):
        next(changes_real.blots(folder=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"pairs\.csv is missing"):
        next(changes_real.photos(folder=tmp_path))
    (tmp_path / "pairs.csv").write_text("original,edit\nx,y\n")
    with pytest.raises(UsageError, match="no column edited"):
        next(changes_real.photos(folder=tmp_path))
    (tmp_path / "pairs.csv").write_text("original,edited\nx.jpg,y.jpg\n")
    with pytest.raises(UsageError, match=r"x\.jpg is missing"):
        next(changes_real.photos(folder=tmp_path))
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="damaged"):
        next(changes_real.photos(folder=tmp_path))


def test_the_sets_themselves(shared: Path) -> None:
    for one in islice(changes_real.blots(128), 0, 40, 8):
        gap = np.abs(one.original.astype(int) - one.query).max(2)
        assert one.changed is not None
        rim = cv2.dilate(one.changed.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert gap[~rim].max() <= 3
        assert 0.04 < one.changed.mean() < 0.9
    for one in islice(changes_real.copymoves(128), 5):
        gap = np.abs(one.original.astype(int) - one.query).max(2)
        assert one.changed is not None
        rim = cv2.dilate(one.changed.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert gap[one.changed].mean() > 10 * max(gap[~rim].mean(), 0.5)
    (first,) = islice(changes_real.photos(128), 1)
    assert first.changed is None
    assert first.flow is None
