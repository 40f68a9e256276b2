"""Find the figures of a page from what lies on it: graphics, rasters and text lines. Plain geometry, no file formats.

Graphics that lie close together make a cluster; text that is neither a caption nor running text belongs to the cluster
beside it; clusters of one caption are one figure. Running text and captions are walls between figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np

from twinscope.types import Box

GAP_PT = 14.0
"""Graphics closer than this make one cluster; text closer than this to a cluster belongs to it."""

_FIGURE = re.compile(
    r"^((?:(?:supplement(?:ary|al)?|suppl\.?|extended\s+data|appendix|online)\s+)?"
    r"(?:fig(?:ure|\.)?|scheme|chart|plate|picture|photo|image|illustration)\s*[A-Z]?[.-]?\d+(?:[.-]\d+)?[A-Za-z]?)"
    r"(?=\s*(?:[.:|,–—-]|\(|$)|\s+[A-Z0-9\"'“‘])",
    re.IGNORECASE,
)
_FIGURE_WORDY = re.compile(r"^\S.*?\d[A-Za-z]?\s+[a-z]")
_TABLE = re.compile(r"^(?:(?:supplement(?:ary|al)?|extended\s+data)\s+)?(?:table|box)\s*[A-Z]?\d+\b", re.IGNORECASE)
_WEAK = re.compile(r"\b(fig(?:ure|\.)?\s*S?\d+[A-Za-z]?)\.?$", re.IGNORECASE)


class Line(NamedTuple):
    """A line of text: its box, its words and the height of its letters (points)."""

    box: Box
    text: str
    size: float


class Graphic(NamedTuple):
    """A drawn object: a raster (with its index), a thin rule, an upright rectangle or any other drawing."""

    box: Box
    shape: Literal["raster", "rule", "tint", "drawing"]
    raster: int = -1


class Block(NamedTuple):
    """Lines that are set together."""

    box: Box
    lines: tuple[Line, ...]
    role: Literal["body", "figure", "table", "text"]
    label: str = ""

    @property
    def text(self) -> str:
        words = " ".join(line.text for line in self.lines).replace("\x02 ", "")
        return "".join(c for c in words if c >= " ")


class Found(NamedTuple):
    """A figure of a page: box in points as shown, label, caption, indices of its rasters."""

    box: Box
    label: str
    caption: str
    rasters: tuple[int, ...]


class _Cluster(NamedTuple):
    box: Box
    graphics: tuple[Graphic, ...]

    @property
    def ruled(self) -> bool:
        return all(g.shape in ("rule", "tint") for g in self.graphics)

    @property
    def pictured(self) -> bool:
        return any(g.shape == "raster" for g in self.graphics)


def hull(a: Box, b: Box) -> Box:
    """Return the smallest box around two boxes."""
    return Box(min(a.x0, b.x0), min(a.y0, b.y0), max(a.x1, b.x1), max(a.y1, b.y1))


def grow(box: Box, by: float) -> Box:
    """Return a box moved outwards by `by` on every side."""
    return Box(box.x0 - by, box.y0 - by, box.x1 + by, box.y1 + by)


def common(a: Box, b: Box) -> float:
    """Return the area that two boxes share."""
    return max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))


def distance(a: Box, b: Box) -> float:
    """Return the gap between two boxes (the larger of the gaps in x and y; 0 where they meet)."""
    return max(0.0, a.x0 - b.x1, b.x0 - a.x1, a.y0 - b.y1, b.y0 - a.y1)


def figures(size: tuple[float, float], graphics: Sequence[Graphic], lines: Sequence[Line]) -> list[Found]:
    """Return the figures of a page of `size` (height, width) points, in reading order."""
    height, width = size
    texts = blocks([line for line in lines if line.text and _upright_line(line)])
    pictures = [g.box for g in graphics if g.shape == "raster" and g.box.area < 0.7 * width * height]
    texts = [_as_role(block, width, pictures) for block in texts]
    texts = _hanging(texts)
    frames = _text_frames(graphics, lines)
    texts = _running_on([_framed(block, frames) for block in texts])
    walls = [block for block in texts if block.role != "text"]
    drawn = _without_backgrounds(size, graphics, walls, frames)
    clusters = [c for c in _clusters(size, drawn, walls) if not _furniture(c, size, walls)]
    captions = [block for block in walls if block.role in ("figure", "table")]
    loose = _loose_lines(size, lines, walls)
    clusters = _absorb(_absorb(clusters, loose, (9.0, 11.0)), loose, (6.0, 6.0))
    groups = _group(clusters, captions, walls)
    groups = [(_trimmed(cluster, walls), caption) for cluster, caption in groups]
    found = [_found(cluster, caption, texts) for cluster, caption in groups if _kept(cluster, caption, size)]
    return sorted(found, key=lambda f: (round(f.box.y0 / 30), f.box.x0, f.box.y0))


def blocks(lines: Sequence[Line]) -> list[Block]:
    """Return lines set together as blocks, in the order of the text."""
    open_blocks: list[list[Line]] = []
    for line in lines:
        for block in reversed(open_blocks[-6:]):
            last = block[-1]
            gap = line.box.y0 - last.box.y1
            alike = 0.75 < line.size / max(last.size, 0.1) < 1.34
            beside = min(line.box.x1, last.box.x1) - max(line.box.x0, last.box.x0)
            joined = alike and -0.6 * line.size < gap < 0.6 * line.size
            if joined and beside > 0.3 * min(line.box.width, last.box.width):
                block.append(line)
                break
        else:
            open_blocks.append([line])
    return [_block(block) for block in open_blocks]


def _block(lines: list[Line]) -> Block:
    box = lines[0].box
    for line in lines[1:]:
        box = hull(box, line.box)
    return Block(box, tuple(lines), "text")


def _upright_line(line: Line) -> bool:
    return line.box.width >= 0.6 * line.box.height or len(line.text) <= 2


def _as_role(block: Block, page_width: float, pictures: Sequence[Box]) -> Block:
    """Return the block with what it is: a figure's caption, a table's heading, running text, or any other text."""
    first = block.lines[0].text
    match = _FIGURE.match(first)
    if match and not (_FIGURE_WORDY.match(first[: match.end() + 3]) and not first[match.end() :].strip()[:1].isupper()):
        return block._replace(role="figure", label=" ".join(match.group(1).split()))
    if _TABLE.match(first):
        return block._replace(role="table")
    if any(common(block.box, picture) > 0.8 * block.box.area for picture in pictures):
        return block
    letters = sum(c.isalpha() for c in block.text) / max(1, len(block.text))
    longest = max(len(line.text) for line in block.lines)
    mean = sum(len(line.text) for line in block.lines) / len(block.lines)
    running = len(block.lines) >= 3 and mean >= 28 and letters > 0.55
    if running or (longest >= 70 and letters > 0.55) or (len(block.lines) == 2 and mean >= 40 and letters > 0.6):
        return block._replace(role="body")
    if block.box.width > 0.45 * page_width and mean >= 45:
        return block._replace(role="body")
    return block


def _hanging(texts: Sequence[Block]) -> list[Block]:
    """Return the blocks with captions whose label stands in a column of its own put together."""
    taken: set[int] = set()
    out: list[Block] = []
    for block in texts:
        label = len(block.lines) == 1 and len(block.lines[0].text) < 30 and block.role in ("figure", "table")
        if label:
            for i, other in enumerate(texts):
                right = 0 < other.box.x0 - block.box.x1 < 40 and abs(other.box.y0 - block.box.y0) < 5
                if right and other.role in ("body", "text") and i not in taken:
                    taken.add(i)
                    block = block._replace(box=hull(block.box, other.box), lines=block.lines + other.lines)
                    break
        out.append(block)
    return [block for i, block in enumerate(out) if i not in taken]


def _text_frames(graphics: Sequence[Graphic], lines: Sequence[Line]) -> list[Box]:
    """Return the upright rectangles that hold running text: boxes beside an article, not boxes of a diagram."""
    frames = []
    for g in graphics:
        if g.shape != "tint" or g.box.area < 5000:
            continue
        inside = [line for line in lines if common(line.box, g.box) > 0.9 * line.box.area]
        letters = sum(len(line.text) for line in inside)
        covered = sum(line.box.area for line in inside) / g.box.area
        others = sum(common(o.box, g.box) > 0.5 * o.box.area for o in graphics if o.shape in ("raster", "drawing"))
        if letters >= 150 and len(inside) >= 4 and covered > 0.3 and others == 0:
            frames.append(g.box)
    return frames


def _framed(block: Block, frames: Sequence[Box]) -> Block:
    if block.role == "text" and any(common(block.box, frame) > 0.8 * block.box.area for frame in frames):
        return block._replace(role="body")
    return block


def _running_on(texts: Sequence[Block]) -> list[Block]:
    """Return the blocks with those that only continue running text made running text."""
    bodies = [block for block in texts if block.role == "body"]
    out = []
    for block in texts:
        for body in bodies:
            gap = max(block.box.y0 - body.box.y1, body.box.y0 - block.box.y1)
            beside = min(block.box.x1, body.box.x1) - max(block.box.x0, body.box.x0)
            size = body.lines[0].size
            close = -0.6 * block.box.height < gap < 0.8 * size and beside > 0.8 * block.box.width
            if block.role == "text" and close and block.box.width > 0.4 * body.box.width:
                block = block._replace(role="body")
                break
        out.append(block)
    return out


def _furniture(cluster: _Cluster, size: tuple[float, float], walls: Sequence[Block]) -> bool:
    """Return whether a cluster is a lone rule, a frame of text, or stands in the page's head or foot."""
    height = size[0]
    box = cluster.box
    if (box.y1 < 0.11 * height or box.y0 > 0.9 * height) and box.height < 0.07 * height:
        return True
    if not cluster.ruled:
        return False
    return len(cluster.graphics) < 3 or sum(common(box, wall.box) for wall in walls) > 0.25 * box.area


def _closes(rule: Box, others: Sequence[Box]) -> bool:
    """Return whether a rule is a side of a rectangle: other rules stand at right angles on both its ends."""
    lying = rule.width >= rule.height
    ends = (Box(rule.x0, rule.y0, rule.x0, rule.y1), Box(rule.x1, rule.y0, rule.x1, rule.y1))
    if not lying:
        ends = (Box(rule.x0, rule.y0, rule.x1, rule.y0), Box(rule.x0, rule.y1, rule.x1, rule.y1))
    across = [o for o in others if (o.width >= o.height) != lying and max(o.width, o.height) > 30]
    return all(any(distance(end, other) <= 3 for other in across) for end in ends)


def _without_backgrounds(
    size: tuple[float, float], graphics: Sequence[Graphic], walls: Sequence[Block], frames: Sequence[Box]
) -> list[Graphic]:
    """Return the graphics without page backgrounds, frames of text, lone rules and the margins' furniture."""
    height, width = size
    solid = [g.box for g in graphics if g.shape in ("raster", "drawing") and g.box.area < 0.7 * width * height]
    rules = [g.box for g in graphics if g.shape == "rule"]
    kept = []
    for g in graphics:
        box = g.box
        if g.shape != "raster" and box.area > 0.7 * width * height:
            continue
        if box.x1 <= 0 or box.y1 <= 0 or box.x0 >= width or box.y0 >= height:
            continue
        if (box.y1 < 0.07 * height or box.y0 > 0.93 * height) and box.height < 0.07 * height:
            continue
        if g.shape in ("tint", "rule") and any(common(box, grow(frame, 1)) >= 0.95 * box.area for frame in frames):
            continue
        tabled = any(wall.role == "table" and distance(box, wall.box) == 0 for wall in walls)
        if g.shape in ("tint", "rule") and tabled and box.height < 60:
            continue
        long_rule = g.shape == "rule" and max(box.width / width, box.height / height) > 0.3
        if long_rule and not any(distance(box, other) <= 2 for other in solid) and not _closes(box, rules):
            continue
        if g.shape == "tint" and sum(common(box, wall.box) for wall in walls) > 0.25 * box.area:
            continue
        if g.shape == "drawing" and sum(common(box, wall.box) for wall in walls) > 0.5 * box.area > 2000:
            continue
        kept.append(g)
    return kept


def _clusters(size: tuple[float, float], graphics: Sequence[Graphic], walls: Sequence[Block]) -> list[_Cluster]:
    """Return graphics that lie within `GAP_PT` of each other, with no wall between, as clusters."""
    if not graphics:
        return []
    scale = min(1.0, 2000 / max(size))
    shape = (max(1, round(size[0] * scale)) + 2, max(1, round(size[1] * scale)) + 2)
    ink = np.zeros(shape, np.uint8)
    cells = [_cells(g.box, scale, shape) for g in graphics]
    for x0, y0, x1, y1 in cells:
        ink[y0:y1, x0:x1] = 1
    reach = max(3, round(GAP_PT * scale) | 1)
    near = cv2.dilate(ink, np.ones((reach, reach), np.uint8))
    for wall in walls:
        x0, y0, x1, y1 = _cells(wall.box, scale, shape)
        near[y0:y1, x0:x1] = ink[y0:y1, x0:x1]
    _, labels = cv2.connectedComponents(near, connectivity=8)
    members: dict[int, list[Graphic]] = {}
    for graphic, (x0, y0, x1, y1) in zip(graphics, cells, strict=True):
        members.setdefault(int(labels[(y0 + y1) // 2, (x0 + x1) // 2]), []).append(graphic)
    members.pop(0, None)
    return [_Cluster(_frame([g.box for g in group], size), tuple(group)) for group in members.values()]


def _cells(box: Box, scale: float, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    x0 = int(min(max(box.x0 * scale, 0), shape[1] - 2))
    y0 = int(min(max(box.y0 * scale, 0), shape[0] - 2))
    x1 = int(min(max(box.x1 * scale + 0.999, x0 + 1), shape[1] - 1))
    y1 = int(min(max(box.y1 * scale + 0.999, y0 + 1), shape[0] - 1))
    return x0, y0, x1, y1


def _frame(boxes: Sequence[Box], size: tuple[float, float]) -> Box:
    box = boxes[0]
    for other in boxes[1:]:
        box = hull(box, other)
    return Box(max(0, box.x0), max(0, box.y0), min(size[1], box.x1), min(size[0], box.y1))


def _loose_lines(size: tuple[float, float], lines: Sequence[Line], walls: Sequence[Block]) -> list[Line]:
    """Return the lines that may belong to a figure: outside the walls and the page's head and foot."""
    walled = {id(line) for wall in walls for line in wall.lines}
    height = size[0]
    return [
        line
        for line in lines
        if line.text
        and id(line) not in walled
        and line.box.y1 > 0.065 * height
        and line.box.y0 < 0.94 * height
        and not (_WEAK.search(line.text) and len(line.text) < 40)
    ]


def _absorb(clusters: list[_Cluster], lines: Sequence[Line], reach: tuple[float, float]) -> list[_Cluster]:
    """Return the clusters grown by the text beside them: at most `reach` points away in x and y."""
    boxes = [c.box for c in clusters]
    for line in lines:
        near = []
        for i, cluster in enumerate(clusters):
            a, b = line.box, cluster.box
            dx, dy = max(0.0, a.x0 - b.x1, b.x0 - a.x1), max(0.0, a.y0 - b.y1, b.y0 - a.y1)
            if dx <= reach[0] and dy <= reach[1] and a.width <= 1.1 * b.width + 30:
                near.append((dx + dy, i))
        if near:
            index = min(near)[1]
            boxes[index] = hull(boxes[index], line.box)
    return [c._replace(box=box) for c, box in zip(clusters, boxes, strict=True)]


def _between(a: Box, b: Box, walls: Sequence[Block], skip: Block | None) -> bool:
    """Return whether a wall stands between two boxes that lie above each other."""
    top, bottom = min(a.y1, b.y1), max(a.y0, b.y0)
    x0, x1 = max(a.x0, b.x0), min(a.x1, b.x1)
    for wall in walls:
        middle = (wall.box.y0 + wall.box.y1) / 2
        if wall is not skip and top < middle < bottom and min(x1, wall.box.x1) - max(x0, wall.box.x0) > 5:
            return True
    return False


def _filled(a: Box, b: Box, others: Sequence[Box]) -> float:
    """Return how much of the way between two boxes that lie above each other other boxes fill (points)."""
    top, bottom = min(a.y1, b.y1), max(a.y0, b.y0)
    x0, x1 = min(a.x0, b.x0), max(a.x1, b.x1)
    filled, reached = 0.0, top
    for y0, y1 in sorted((o.y0, o.y1) for o in others if o.x1 > x0 and o.x0 < x1 and o is not a):
        start, end = max(y0, reached), min(y1, bottom)
        if end > start:
            filled, reached = filled + end - start, end
    return filled


def _cost(cluster: _Cluster, caption: Block, walls: Sequence[Block], others: Sequence[Box]) -> float:
    """Return how far a cluster is from belonging to a caption (points, weighted by side); inf where it cannot."""
    a, b = cluster.box, caption.box
    beside_x = min(a.x1, b.x1) - max(a.x0, b.x0)
    beside_y = min(a.y1, b.y1) - max(a.y0, b.y0)
    if beside_x > 0.3 * min(a.width, b.width):
        if _between(a, b, walls, caption):
            return float("inf")
        below = b.y0 >= (a.y0 + a.y1) / 2
        usual = below if caption.role == "figure" else not below
        unlikely = 40.0 if caption.role == "table" and not cluster.ruled else 0.0
        way = max(0.0, distance(a, b) - _filled(a, b, others))
        return unlikely + way * (1.0 if usual else 2.5) + (0.0 if usual else 12.0)
    if beside_y > 0.3 * min(a.height, b.height) and distance(a, b) < 40:
        return 1.5 * distance(a, b) + 10
    return float("inf")


def _group(
    clusters: Sequence[_Cluster], captions: Sequence[Block], walls: Sequence[Block]
) -> list[tuple[_Cluster, Block | None]]:
    """Return clusters merged into figures, each with its caption or None."""
    groups: list[tuple[_Cluster, Block | None]] = []
    boxes = [cluster.box for cluster in clusters]
    for cluster in clusters:
        costs = [(_cost(cluster, caption, walls, boxes), i) for i, caption in enumerate(captions)]
        cost, index = min(costs, default=(float("inf"), -1))
        groups.append((cluster, captions[index] if cost < float("inf") else None))
    groups = [(c, b) for c, b in groups if not (b is not None and b.role == "table" and c.ruled)]
    groups = [(c, None if b is not None and b.role == "table" else b) for c, b in groups]
    merged = True
    while merged and len(groups) > 1:
        merged = False
        pairs = sorted(
            (distance(groups[i][0].box, groups[j][0].box), i, j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        )
        for gap, i, j in pairs:
            joined = _join(groups[i], groups[j], gap, walls)
            if joined is not None:
                groups = [g for k, g in enumerate(groups) if k not in (i, j)] + [joined]
                merged = True
                break
    return groups


def _join(
    a: tuple[_Cluster, Block | None], b: tuple[_Cluster, Block | None], gap: float, walls: Sequence[Block]
) -> tuple[_Cluster, Block | None] | None:
    """Return two groups as one where they belong together, else None."""
    one = a[1] if a[1] is not None else b[1]
    if a[1] is not None and b[1] is not None and a[1] is not b[1]:
        return None
    same = a[1] is not None and a[1] is b[1]
    if not same and gap > 40:
        return None
    if not same and gap > 0 and (a[0].ruled or b[0].ruled):
        return None
    box = hull(a[0].box, b[0].box)
    for wall in walls:
        part = common(box, wall.box) - common(a[0].box, wall.box) - common(b[0].box, wall.box)
        if part > 0.25 * wall.box.area and (gap > 0 or wall.role == "body"):
            return None
    return _Cluster(box, a[0].graphics + b[0].graphics), one


def _trimmed(cluster: _Cluster, walls: Sequence[Block]) -> _Cluster:
    """Return a figure without the running text that the boxes of its drawings reach over, above and below."""
    box = cluster.box
    top = min((g.box.y0 for g in cluster.graphics if g.shape == "raster"), default=box.y1)
    bottom = max((g.box.y1 for g in cluster.graphics if g.shape == "raster"), default=box.y0)
    for wall in walls:
        inside = min(wall.box.x1, box.x1) - max(wall.box.x0, box.x0)
        if inside < 0.6 * min(box.width, wall.box.width) or inside < 0.3 * box.width:
            continue
        if wall.box.y0 > max(bottom - 1, box.y0 + 0.6 * box.height) and wall.box.y0 < box.y1:
            box = box._replace(y1=wall.box.y0)
        elif wall.box.y1 < min(top + 1, box.y0 + 0.4 * box.height) and wall.box.y1 > box.y0:
            box = box._replace(y0=wall.box.y1)
    return cluster._replace(box=box)


def _kept(cluster: _Cluster, caption: Block | None, size: tuple[float, float]) -> bool:
    box = cluster.box
    if caption is not None:
        return min(box.width, box.height) >= 20 and box.area >= 1500
    if cluster.ruled:
        return False
    if cluster.pictured:
        large = max(g.box.area for g in cluster.graphics if g.shape == "raster")
        if min(box.width, box.height) >= 40 and box.area >= 5000 and large >= 1000:
            return True
    drawn = sum(g.shape == "drawing" for g in cluster.graphics)
    return drawn >= 8 and box.width >= 120 and box.height >= 80 and box.area >= 15_000


def _found(cluster: _Cluster, caption: Block | None, texts: Sequence[Block]) -> Found:
    rasters = tuple(sorted(g.raster for g in cluster.graphics if g.shape == "raster"))
    if caption is None:
        weak = [m.group(1) for block in texts if len(block.text) < 40 and (m := _WEAK.search(block.text))]
        return Found(cluster.box, weak[0] if len(weak) == 1 else "", "", rasters)
    parts = [caption.text]
    last = caption
    for block in texts:
        gap = block.box.y0 - last.box.y1
        same = 0.8 < block.lines[0].size / max(0.1, last.lines[-1].size) < 1.25
        if block.role != "figure" and same and -2 < gap < last.lines[-1].size and abs(block.box.x0 - last.box.x0) < 12:
            parts.append(block.text)
            last = block
    return Found(cluster.box, caption.label, " ".join(parts)[:5000], rasters)
