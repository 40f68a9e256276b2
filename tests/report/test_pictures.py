"""Data URIs stay within their share, and the colours of the heat-map are cividis."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from twinscope.report import pictures


def decode(uri: str) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_UNCHANGED))


def test_a_small_picture_is_kept_exactly() -> None:
    image = np.arange(60 * 80 * 3, dtype=np.uint32).reshape(60, 80, 3).astype(np.uint8)
    uri = pictures.uri(image, 200_000)
    assert uri.startswith("data:image/png;base64,")
    assert np.array_equal(cv2.cvtColor(decode(uri), cv2.COLOR_BGR2RGB), image)


@pytest.mark.parametrize("share", [45_000, 100_000, 400_000])
def test_a_large_picture_fits_its_share(share: int) -> None:
    coarse = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    uri = pictures.uri(cv2.resize(coarse, (2400, 1800), interpolation=cv2.INTER_CUBIC), share)
    assert len(uri) <= share + 40
    assert max(decode(uri).shape) <= pictures.LONG_SIDE
    assert decode(uri).shape[1] / decode(uri).shape[0] == pytest.approx(4 / 3, rel=0.01)


def test_cividis_runs_from_dark_blue_to_yellow() -> None:
    low, high = pictures.cividis(np.array([[0, 255]], np.uint8))[0].astype(int)
    assert low[2] > 60 > low[0]
    assert high[0] > 240
    assert high[2] < 110
    ramp = pictures.cividis(np.arange(256, dtype=np.uint8)[None])[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(ramp) > -1)  # lightness only rises: it reads in grey and without colour vision


def test_the_legend_has_the_colours_of_the_map() -> None:
    stops = pictures.legend()
    assert (stops[0][0], stops[-1][0]) == (0, 100)
    assert stops[-1][1] == "#{:02x}{:02x}{:02x}".format(*pictures.cividis(np.array([[255]], np.uint8))[0, 0])


@pytest.mark.parametrize("name", ["../x.png", "/etc/hostname", "a\x00b", "missing.png", "", None, "x" * 5000])
def test_only_files_of_the_case_are_read(tmp_path: Path, name: str | None) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "x.png").write_bytes(b"x")
    assert pictures.inside(tmp_path / "case", name) is None


def test_a_link_out_of_the_case_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "x.png").write_bytes(b"x")
    (tmp_path / "case" / "y.png").symlink_to(tmp_path / "x.png")
    assert pictures.inside(tmp_path / "case", "y.png") is None


def test_a_broken_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "y.png").write_bytes(b"not a picture")
    assert pictures.load(tmp_path, "y.png") is None


def test_a_stored_png_is_taken_as_it_is_when_it_fits(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "x.png"), np.full((9, 9), 7, np.uint8))
    (tmp_path / "y.png").write_bytes(b"<svg onload=alert(1)>")
    size = (tmp_path / "x.png").stat().st_size
    uri = pictures.stored(tmp_path, "x.png", 2 * size)
    assert uri is not None
    assert base64.b64decode(uri.split(",")[1]) == (tmp_path / "x.png").read_bytes()
    assert pictures.stored(tmp_path, "x.png", size) is None
    assert pictures.stored(tmp_path, "y.png", 10_000) is None
    assert pictures.stored(tmp_path, "missing.png", 10_000) is None


def test_stretching_spreads_the_tones_and_leaves_flat_pictures_alone() -> None:
    ramp = np.tile(np.linspace(51, 102, 200).astype(np.uint8), (200, 1))
    slope, intercept = pictures.stretch(ramp)
    assert slope * 0.2 + intercept == pytest.approx(0, abs=0.02)
    assert slope * 0.4 + intercept == pytest.approx(1, abs=0.02)
    assert pictures.stretch(np.full((50, 50, 3), 9, np.uint8)) == (1.0, 0.0)
