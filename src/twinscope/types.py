"""The records of twinscope, and their JSON.

All are frozen and validated. Pixels are never inside a record: they travel as arrays.
`Screening` is the public contract `screening.json`; `docs/screening.schema.json` is made from it.

Conventions: boxes are xyxy, half-open, with a top-left origin; points are (x, y); sizes are (height, width);
units are in the names (`_px`, `_pt`, `_s`). A pair is always `a, b`; `distance` is small for alike and 1 at the
border; `probability` is calibrated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SCHEMA_VERSION = "1"

InputStatus = Literal["ok", "partial", "refused", "failed"]
PanelKind = Literal["micrograph", "blot", "photo", "graph", "diagram", "other"]
FindingKind = Literal["duplicate", "overlap"]
Verdict = Literal["benign", "manipulated"]
EditKind = Literal["erased", "added", "cloned", "tone", "changed"]

Progress = Callable[[str, int, int], None]
"""Hears of long work: the stage, how many steps are done, and of how many."""
PICTURE_KINDS: frozenset[str] = frozenset({"micrograph", "blot", "photo", "other"})
"""Kinds of panel that are compared as pictures; graphs and diagrams are kept and not compared."""


class _Corners(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float


class Box(_Corners):
    """A rectangle (x0, y0, x1, y1), half-open, top-left origin; a JSON array of four numbers."""

    __slots__ = ()

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)


def _ordered(corners: tuple[float, float, float, float]) -> Box:
    box = Box(*corners)
    if not (box.x1 >= box.x0 and box.y1 >= box.y0):
        raise ValueError(f"a box needs x0 <= x1 and y0 <= y1, got {tuple(corners)}")
    return box


BoxField = Annotated[tuple[float, float, float, float], AfterValidator(_ordered)]
Row = tuple[float, float, float]
Matrix = tuple[Row, Row, Row]
"""A 3x3 transform in row-major order, mapping homogeneous pixel positions of a to b."""


class Record(BaseModel):
    """Base of all records: frozen, no unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Origin(Record):
    """Where a figure or panel comes from.

    `page` counts from 1 (None for a plain picture). `box_pt` is in points of the page as shown (CropBox, top-left
    origin). `box_px` is the place inside the picture that held the panel (the embedded raster, or the whole file).
    `how` says whether the pixels are those embedded in the document, were rendered, or are a file of their own.
    """

    path: str
    sha256: str
    page: int | None = Field(default=None, ge=1)
    box_pt: BoxField | None = None
    box_px: BoxField | None = None
    how: Literal["embedded", "rendered", "image"] = "image"


class Page(Record):
    """A page of a document as shown: `size_pt` is (height, width) in points; `thumbnail` is relative to the case."""

    path: str
    sha256: str
    page: int = Field(ge=1)
    size_pt: tuple[float, float]
    thumbnail: str | None = None


class Figure(Record):
    """A figure of a document: its place, its label ("Figure 2") and its caption."""

    id: str
    source: Origin
    label: str = ""
    caption: str = ""


class Correction(Record):
    """A panel box that a person has drawn, moved or taken out, on a page of the file with this hash.

    `box` is the new one, `replaces` the one that was found and is not to be told; in points of the page as shown, or,
    of a file that is a picture, in its pixels. A picture has page 1, a TIFF as many as it holds.
    """

    sha256: str
    page: int = Field(ge=1)
    box: BoxField | None = None
    replaces: BoxField | None = None


class Earlier(Record):
    """Where a panel of the library comes from: the library, the document's title there, the panel's id and size in it.

    `figure` is what the document calls its figure ("Figure 2"), `size` (height, width) in pixels as published.
    """

    library: str
    title: str = ""
    figure: str = ""
    panel: str
    size: tuple[int, int]


class Panel(Record):
    """One panel of a figure; `size` is (height, width) in pixels; its pixels lie in `panels/<id>.png` of the case.

    A panel that was found in a library has `earlier`, and its pixels are the small ones that are kept there.
    """

    id: str
    figure: str
    kind: PanelKind
    size: tuple[int, int]
    label: str = ""
    caption: str = ""
    source: Origin
    earlier: Earlier | None = None


class Match(Record):
    """A pair of panels worth a closer look: a candidate, never a finding."""

    a: str
    b: str
    distance: float | None = Field(default=None, ge=0, description="embedding distance; 1 is the border")
    rank: int = Field(ge=1)
    reason: Literal["embedding", "keypoints", "dense"]


class Edit(Record):
    """One place in which b differs from a beyond what noise, compression, blur, tone and geometry explain.

    `kind` says what b shows there against a: something of a is gone (erased), something is there that a does not have
    (added), the same content in other tones (tone), or other content of which no more can be said (changed). It is
    "cloned" where the content of one of the two is a copy of another place of the same panel: `source_b`, or `source_a`
    where it is a that repeats itself. Which of the two panels came first is not known.
    """

    box_a: BoxField
    box_b: BoxField
    kind: EditKind
    source_a: BoxField | None = None
    source_b: BoxField | None = None


class Classes(Record):
    """How probable it is that b is a worn copy of a (benign), a copy edited in places, or another picture; they add to
    1.
    """

    benign: float = Field(ge=0, le=1)
    manipulated: float = Field(ge=0, le=1)
    distinct: float = Field(ge=0, le=1)


CLASSES = tuple(Classes.model_fields)
"""The names of the classes, in the order in which the comparator says them."""


class Finding(Record):
    """Evidence that two panels show the same source."""

    id: str
    kind: FindingKind
    a: str
    b: str
    verdict: Verdict
    probability: float = Field(ge=0, le=1, description="calibrated probability that a and b show the same source")
    expected_false: float = Field(
        ge=0, description="false findings to expect in a manuscript of this size at this probability or above"
    )
    distance: float | None = Field(default=None, ge=0, description="embedding distance; <= 1 is 'same'")
    region_a: BoxField
    region_b: BoxField
    transform: Matrix
    steps: tuple[str, ...] = ()
    changes: tuple[BoxField, ...] = Field(default=(), description="boxes of local edits, in px of b")
    edits: tuple[Edit, ...] = Field(default=(), description="the changes, each with its place in a and its kind")
    classes: Classes | None = None
    heatmap_a: str | None = Field(default=None, description="8-bit grey PNG: how probable an edit is at each place")
    heatmap_b: str | None = None
    unsure_a: str | None = Field(default=None, description="8-bit PNG, 255 where nothing can be said")
    unsure_b: str | None = None
    evidence: dict[str, float] = Field(default_factory=dict, description="the numbers behind the finding")


class Problem(Record):
    """Something that could not be read, and why. It never reads as 'clean'."""

    path: str
    page: int | None = None
    reason: str


class InputFile(Record):
    """One input and what became of it."""

    path: str
    sha256: str
    kind: str
    status: InputStatus
    reason: str = ""
    pages: int | None = None


class Searched(Record):
    """A library that panels were looked for in, as it was then: its place, its table's version, and its panels."""

    library: str
    version: int = Field(ge=0)
    panels: int = Field(ge=0)


class Provenance(Record):
    """What is needed to get the same findings again."""

    twinscope: str
    models: dict[str, str] = Field(default_factory=dict, description="model id -> sha256 of its file")
    settings_sha256: str
    seed: int = 0
    command: str = ""
    library: Searched | None = None
    threshold: float | None = Field(
        default=None, gt=0, lt=1, description="compare.threshold: the probability above which a place counts as edited"
    )
    schema_version: str = SCHEMA_VERSION


class Screening(Record):
    """The result of a screening: the contract of `screening.json`."""

    inputs: tuple[InputFile, ...]
    pages: tuple[Page, ...] = ()
    figures: tuple[Figure, ...] = ()
    panels: tuple[Panel, ...] = ()
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = Field(ge=0)
    provenance: Provenance


class Near(Record):
    """A generated picture near a real one.

    `distance` is the embedding's (1 is the border of "the same picture"), `apart` that of the pictures laid over each
    other (0 alike but for brightness and contrast, 1.41 unlike, 2 inverted), `aligned` the calibrated probability of a
    local alignment that both show the same source, None where it was not looked for.
    """

    path: str
    distance: float = Field(ge=0)
    apart: float = Field(ge=0, le=2)
    aligned: float | None = Field(default=None, ge=0, le=1)


class Audited(Record):
    """A real picture of an audit: how probable it is that the generator learned from it, and what lies nearest.

    `p` is the chance of such nearness by accident. Of a picture with a `known` answer the probability comes from the
    other known ones.
    """

    path: str
    sha256: str
    known: Literal["used", "unused"] | None = None
    probability: float = Field(ge=0, le=1)
    p: float = Field(ge=0, le=1)
    margin: float = Field(ge=0, description="log of the distance of the next real pictures over that of the nearest")
    nearest_to: int = Field(ge=0, description="generated pictures whose nearest real picture this is")
    near: tuple[Near, ...] = ()


class Learning(Record):
    """How well known used pictures were told from known unused ones, each judged by the others (cross-fitting)."""

    used: int
    unused: int
    evidence: bool
    auc: float
    auc_low: float
    auc_high: float
    p: float
    brier: float
    reliability: tuple[tuple[float, float, int], ...] = Field(
        description="of each bin the mean probability, the share that was used, and how many"
    )


class Statement(Record):
    """What an audit says of the whole set: `share` of the real pictures come back, with a 95 % interval.

    Without `evidence` each probability is the `prior`: nothing is told apart.
    """

    evidence: bool
    p: float = Field(ge=0, le=1)
    share: float = Field(ge=0, le=1)
    share_low: float = Field(ge=0, le=1)
    share_high: float = Field(ge=0, le=1)
    prior: float = Field(ge=0, le=1)
    sentences: tuple[str, ...]
    learning: Learning | None = None


class Unread(Record):
    """A file of an audit that was refused, failed or read in part, and why in one sentence."""

    path: str
    status: InputStatus
    reason: str


class Audit(Record):
    """The result of `twinscope fingerprint audit`: the real pictures, those most probably used first."""

    real: int
    generated: int
    statement: Statement
    images: tuple[Audited, ...]
    problems: tuple[Unread, ...] = ()
    seconds: float = Field(ge=0)
    provenance: Provenance
