"""One frozen settings record per stage: the only home of defaults.

Settings come from defaults < TOML < flags; an unknown key is an error.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twinscope.errors import SettingsError


class _Stage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Stage):
    """What a document may cost. A limit that is hit becomes a status, never silence."""

    pages: int = Field(2000, ge=1, description="pages of a document that are read")
    images: int = Field(5000, ge=1, description="pictures of a document that are read")
    document_s: float = Field(300.0, gt=0, description="time for a document, s")
    page_s: float = Field(30.0, gt=0, description="time for a page, s")
    worker_bytes: int = Field(1536 * 2**20, ge=2**27, description="memory of the worker process")
    page_px: int = Field(25_000_000, ge=10_000, description="pixels of a rendered page")
    image_px: int = Field(100_000_000, ge=10_000, description="pixels of one picture")
    zip_entries: int = Field(2000, ge=1, description="entries of an archive")
    zip_bytes: int = Field(2**30, ge=1, description="unpacked bytes, counted while unpacking")
    zip_ratio: float = Field(200.0, gt=1, description="refused above this ratio once 10 MB are unpacked")
    zip_nesting: int = Field(2, ge=0, description="archives within archives")
    restarts: int = Field(5, ge=0, description="workers started again for one document after one died or hung")


class Ingest(_Stage):
    """How documents become figures and panels."""

    render_dpi: float = Field(200.0, ge=72, le=600, description="for figures that are drawn or layered")
    thumbnail_dpi: float = Field(60.0, ge=20, le=200, description="of the pages in the report")
    split: bool = Field(True, description="split compound figures into panels; without it each figure is one panel")
    limits: Limits = Limits()


class Features(_Stage):
    """What is computed once a panel."""

    long_side: int = Field(400, ge=64, description="working size of a panel, px")
    short_side: int = Field(400, ge=32, description="narrow strips are enlarged until their short side has this")
    enlarge: float = Field(2.0, ge=1, description="a small panel is enlarged at most this much")
    window_px: float = Field(10.0, gt=0, description="Gaussian window of the local normalisation, working px")
    keypoints: int = Field(1000, ge=50, description="of a panel, half of them fine and half coarse")
    coarse_px: float = Field(2.5, gt=0, description="smoothing for the coarse keypoints, working px")
    coarse_window_px: float = Field(40.0, gt=0, description="window of the local normalisation of the coarse keypoints")
    contrast: float = Field(0.03, gt=0, description="SIFT: least contrast of a keypoint")
    edge: float = Field(12.0, gt=1, description="SIFT: a keypoint more edge-like than this is dropped")
    colour: float = Field(0.02, ge=0, description="mean spread of the channels above which a picture has colour")
    plane_correlation: float = Field(0.93, gt=0, le=1, description="a channel more alike than this adds nothing")
    flat: float = Field(0.004, gt=0, description="local spread below which ground is flat or saturated")


class Candidates(_Stage):
    """Which pairs of panels get a closer look."""

    keypoints: int = Field(400, ge=50, description="strongest keypoints of a panel used here")
    dimensions: int = Field(48, ge=8, le=128, description="principal components of the descriptors")
    ratio: float = Field(0.9, gt=0, lt=1, description="nearest / second nearest descriptor distance")
    votes: int = Field(4, ge=2, description="keypoint matches that agree on one similarity")
    distance: float = Field(0.63, gt=0, description="embedding distance below which a pair is searched by correlation")
    far: float = Field(1.2, gt=0, description="embedding distance above which none is searched by correlation")
    most: int = Field(60, ge=1, description="pairs of one panel with later ones that get a closer look, best first")


class Dense(_Stage):
    """The correlation search, for panels with too few keypoints."""

    keypoints: int = Field(150, ge=0, description="a panel with fewer keypoints is searched for by correlation, too")
    side_px: int = Field(48, ge=16, description="long side of the small picture")
    pad_px: int = Field(108, ge=48, description="square to which pictures are padded for the Fourier transform")
    window_px: float = Field(8.0, gt=0, description="window of the local normalisation of the small picture")
    scale: float = Field(2.0, ge=1, description="largest change of scale between the panels' long sides")
    steps: int = Field(9, ge=1, description="scales tried")
    overlap: float = Field(0.3, gt=0, le=1, description="least common area, of the smaller panel")
    spread: float = Field(0.012, ge=0, description="spread of grey below which a panel is blank")
    energy: float = Field(0.05, ge=0, description="least mean square of the tone-free pictures in the common area")
    score: float = Field(0.9, gt=0, le=1, description="least correlation of a candidate")


class Align(_Stage):
    """How two panels are aligned."""

    least: int = Field(4, ge=3, description="matches that must agree for a keypoint alignment")
    few: int = Field(20, ge=0, description="an alignment by fewer keypoints is also refined on the whole pictures")
    reach: float = Field(
        0.06, gt=0, lt=1, description="guided matching: distance from the prediction, of b's long side"
    )
    cosine: float = Field(0.75, gt=0, lt=1, description="guided matching: least cosine of RootSIFT descriptors")
    error_px: float = Field(2.5, gt=0, description="MAGSAC++ threshold, working px")
    places: int = Field(5, ge=3, description="places at which matches must agree for an alignment that stretches")
    apart_px: float = Field(20.0, ge=0, description="matches nearer to each other are at one place, working px")
    scale: float = Field(4.5, gt=1, description="largest change of scale between working sizes")
    anisotropy: float = Field(2.2, gt=1, description="largest stretch or shear")
    dense_agreement: float = Field(0.4, ge=0, lt=1, description="least correlation when found by correlation")
    dense_anisotropy: float = Field(1.2, gt=1, description="largest stretch of an alignment found by correlation")
    overlap: float = Field(0.12, gt=0, lt=1, description="least shared area, of the smaller panel")
    ecc_steps: int = Field(40, ge=1, description="most steps of the sub-pixel refinement")
    climb_steps: int = Field(30, ge=5, description="steps tried when a place found by correlation is refined")


class Evidence(_Stage):
    """How the agreement of two aligned panels is measured."""

    window_px: float = Field(10.0, gt=0, description="Gaussian window of the local normalisation, px of the frame")
    local_px: float = Field(6.0, gt=0, description="Gaussian window of the local correlation")
    least: float = Field(0.3, ge=0, lt=1, description="refused: a lower correlation of the aligned pictures")
    periodic: float = Field(0.88, gt=0, le=1, description="refused: as good at a shift as this share of the best")
    doubtful: float = Field(0.73, gt=0, le=1, description="the same bar where few keypoints agree")
    few: int = Field(20, ge=0, description="keypoints that agree: fewer are few ...")
    few_share: float = Field(0.6, ge=0, le=1, description="... where they are a smaller share of the matches than this")
    grating: float = Field(0.95, gt=0, description="refused: as good far away as this share of the best")
    flat: float = Field(0.006, gt=0, description="local spread below which ground says nothing")
    drowned: float = Field(0.93, ge=0, le=1, description="smooth pictures that agree less than this are shrunk")
    width_px: float = Field(5.0, gt=0, description="width of their detail when they are shrunk")


class Compare(_Stage):
    """What counts as an edit between two aligned panels."""

    smooth_px: float = Field(1.5, gt=0, description="smoothing before the difference, px of the frame")
    floor: float = Field(0.02, gt=0, description="difference that is never a change, of full scale")
    misfit_px: float = Field(1.0, ge=0, description="misalignment that is forgiven")
    local_px: float = Field(5.0, gt=0, description="Gaussian window of the local correlation")
    agreement: float = Field(0.55, ge=-1, le=1, description="local correlation below which contents disagree")
    threshold: float = Field(0.5, gt=0, lt=1, description="probability above which a place counts as edited")
    least_px: float = Field(30, ge=1, description="least area of a change, px of the frame")
    least_share: float = Field(0.0006, ge=0, description="least area of a change, of what both show")
    letters: bool = Field(False, description="letters and marks drawn over one picture are edits, as in black-2021")
    most: int = Field(10, ge=1, description="edits that are told; where there are more, contents differ throughout")
    throughout: float = Field(
        0.4, gt=0, le=1, description="edited share of what both show above which they differ throughout"
    )


class Findings(_Stage):
    """What is told as a finding."""

    probability: float = Field(0.5, ge=0, le=1, description="least calibrated probability of a finding")
    most: float = Field(0.999, ge=0.5, le=1, description="no finding is told as more certain than this")
    duplicate: float = Field(0.85, gt=0, le=1, description="shared share of both panels above which it is no overlap")
    least_side_px: int = Field(24, ge=8, description="smaller panels are not compared")


class Second(_Stage):
    """The second look of `twinscope compare` at two pictures in which nothing was found."""

    speck_px: int = Field(5, ge=3, le=9, description="median filter of the smaller pictures, px of the picture; odd")
    score: float = Field(0.6, gt=0, le=1, description="in the place of dense.score: least correlation of a candidate")
    agreement: float = Field(0.15, ge=0, lt=1, description="in the place of align.dense_agreement")
    least: float = Field(0.1, ge=0, lt=1, description="in the place of evidence.least")
    laid: float = Field(
        0.4, ge=0, le=1, description="pictures laid over each other as they are must correlate less than this"
    )
    stands: float = Field(
        2.5, ge=0, description="and so many spreads better than the same two shifted against each other"
    )


class Shelf(_Stage):
    """How earlier panels are kept in a library, and looked for there."""

    picture_px: int = Field(400, ge=64, description="longest side of the kept picture of a panel")
    quality: int = Field(90, ge=50, le=100, description="JPEG quality of the kept picture")
    crops: bool = Field(
        True, description="vectors of the corners and the middle of a panel, too, so that parts are found"
    )
    crop: float = Field(0.6, gt=0.2, lt=1, description="side of such a part, as a share of the panel's")
    one_part: float = Field(0.11, ge=0, description="so much further a whole and a part count than two wholes")
    two_parts: float = Field(0.33, ge=0, description="so much further two parts count than two wholes")
    batch: int = Field(256, ge=1, description="panels that are acknowledged together, at least")
    exact: int = Field(100_000, ge=256, description="vectors from which on an index is used")
    lists: int = Field(1024, ge=1, description="lists of the index (IVF)")
    probed: int = Field(64, ge=1, description="lists that are looked through for a query")
    bytes_a_vector: Literal[1, 2, 4, 8, 16, 32, 64, 128] = Field(
        16, description="of the product quantisation, 8 bits each: 1, 2, 4, 8, 16, 32, 64 or 128"
    )
    refined: int = Field(8, ge=1, description="so many times the wanted vectors are measured exactly")
    unindexed: float = Field(0.1, gt=0, lt=1, description="share of vectors outside the index that has it refreshed")
    stalled_s: float = Field(1800.0, gt=0, description="a run on a cluster ends if nothing gets further for so long, s")
    looked: int = Field(100, ge=1, le=1000, description="panels near a query that `library search` looks at closely")
    screened: int = Field(10, ge=1, le=1000, description="the same in a screening, for each of its panels")

    @property
    def vectors(self) -> int:
        """The most vectors that a panel has: of the whole, the corners and the middle."""
        return 6 if self.crops else 1


class Segment(_Stage):
    """How `twinscope segment` learns from labelled places, and cuts pictures into what was labelled and the rest."""

    plain: bool = Field(True, description="simple channels (grey, smooth, slope, spread) beside the network's maps")
    trees: int = Field(20, ge=1, le=500, description="trees of the forest")
    leaf: int = Field(20, ge=1, description="least labelled places in a leaf, where there are 30,000 places and more")
    share: float = Field(0.5, gt=0, le=1, description="labelled places that are kept, where there are many")
    most: int = Field(60_000, ge=100, description="places that the forest learns from, at most")
    tile_px: int = Field(512, ge=64, multiple_of=16, description="side of a tile's kept part")
    overlap_px: int = Field(48, ge=48, multiple_of=16, description="what a tile sees beyond it, on every side")
    edge_px: int = Field(
        3, ge=0, le=50, description="reach within which a border moves to an edge of the picture; 0: none"
    )
    edge: float = Field(0.01, gt=0, description="variance of grey (of the picture's spread, squared) that is an edge")
    threshold: float = Field(0.5, gt=0, lt=1, description="probability above which a pixel belongs to an object")
    least_px: int = Field(30, ge=1, description="least area of an object, px")
    neck: float = Field(
        0.8, ge=0, lt=1, description="touching objects are cut where they are narrower than this share; 0: not"
    )


class Fingerprint(_Stage):
    """How `twinscope fingerprint` tells which real pictures a generator learned from."""

    side_px: int = Field(32, ge=16, le=128, description="side at which pictures are laid over each other")
    shift_px: int = Field(1, ge=0, le=4, description="shift that is forgiven there")
    turned: bool = Field(True, description="rotations by quarters and mirror images are looked at, too")
    others: int = Field(8, ge=1, description="next real pictures that a distance is taken relative to")
    tail: float = Field(0.2, gt=0.02, le=0.5, description="share of the null beyond which its tail is a fitted one")
    prior: float = Field(0.5, gt=0, lt=1, description="share of the real pictures taken to be used, before looking")
    level: float = Field(0.01, gt=0, lt=0.2, description="chance of a copy by accident at which copies are counted")
    doubt: float = Field(0.05, gt=0, lt=0.5, description="p-value of the set above which all is left at chance")
    aligned: int = Field(1, ge=0, le=20, description="nearest generated pictures that are aligned with each real one")
    shown: int = Field(3, ge=1, le=10, description="nearest generated pictures that are told of each real one")
    told: int = Field(200, ge=1, description="real pictures that the report shows; the table has all")
    folds: int = Field(5, ge=2, le=20, description="parts of the known examples, each judged by the others")


class Settings(_Stage):
    """All settings of a screening."""

    ingest: Ingest = Ingest()
    features: Features = Features()
    candidates: Candidates = Candidates()
    dense: Dense = Dense()
    align: Align = Align()
    evidence: Evidence = Evidence()
    second: Second = Second()
    compare: Compare = Compare()
    findings: Findings = Findings()
    library: Shelf = Shelf()
    segment: Segment = Segment()
    fingerprint: Fingerprint = Fingerprint()
    seed: int = Field(0, description="of every random draw")
    threads: int = Field(2, ge=1, le=64, description="processor threads")

    def sha256(self) -> str:
        """Return the hash of these settings as hex; equal settings have equal hashes."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Training(_Stage):
    """How `twinscope train metric` goes; these are options of that command, and no part of a screening's settings."""

    epochs: int = Field(300, ge=1, description="at most; in each every training picture is seen once")
    patience: int = Field(50, ge=1, description="epochs without a better validation score that end the training")
    batch: int = Field(32, ge=4, description="pictures in a batch, at most")
    rate: float = Field(2e-3, gt=0, le=1, description="the highest learning rate")
    seed: int = Field(1, ge=0, description="of every random draw")
    preset: Literal["v02", "figure", "geometric"] = Field("v02", description="the manipulations of the copies")


class Desk(_Stage):
    """How `twinscope serve` goes. Some are options of that command; none is a key of `--set` or `--settings`."""

    port: int = Field(8765, ge=0, le=65535, description="port that the desk listens at; 0: any that is free")
    upload_bytes: int = Field(200 * 2**20, ge=1, description="of the files of one upload, all together")
    upload_files: int = Field(500, ge=1, description="files of one upload")
    upload_idle_s: float = Field(60.0, gt=0, description="an upload that brings nothing for so long is given up, s")
    form_bytes: int = Field(2**20, ge=1024, description="of what a form or a request without files may bring")
    jobs_at_once: int = Field(1, ge=1, le=64, description="screenings that run at the same time")
    page_dpi: float = Field(110.0, ge=20, le=200, description="of the pages on which boxes are shown and corrected")
    nice: int = Field(10, ge=0, le=19, description="how far screenings stand back behind all else on the machine")
    grace_s: float = Field(2.0, ge=0, description="time that a cancelled screening has to end by itself, s")
    progress_s: float = Field(0.5, ge=0, description="least time between two notes of how far a screening is, s")
    event_s: float = Field(0.7, gt=0, le=2, description="time between two events that a page hears, s")
    session_s: float = Field(12 * 3600.0, gt=0, description="a session that is not used for so long ends, s")
    session_most_s: float = Field(7 * 86400.0, gt=0, description="every session ends after this time, s")
    tries: int = Field(10, ge=1, description="wrong passwords for one name, and twice as many from one address, ...")
    tries_s: float = Field(900.0, gt=0, description="... within this time, before the next must wait, s")
    callback_tries: int = Field(5, ge=1, description="times that a callback is tried")
    callback_s: float = Field(10.0, gt=0, description="time that a callback may take, and the first pause after it, s")


def load(path: Path | None = None, flags: dict[str, Any] | None = None) -> Settings:
    """Return settings from defaults < the TOML file `path` < `flags` (nested dicts of the same shape).

    Raises SettingsError for a file that cannot be read, an unknown key or a value out of range.
    """
    merged: dict[str, Any] = {}
    if path is not None:
        try:
            merged = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the settings file {path}: {error}") from error
    merged = _merge(merged, flags or {})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {where}: {first['msg']}; see docs/settings.md for the known keys") from error


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merge(out[key], value) if both else value
    return out
