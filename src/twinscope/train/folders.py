"""A user's own folders of pictures: read, checked, and cut into batches and validation classes.

Pictures of one sub-folder are of one group: they may show the same, so that they count neither as the same nor as
different. Windows of one picture that do not overlap are the look-alikes to learn from.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
from torch.utils.data import Dataset

from twinscope.detect import vectors
from twinscope.detect.vectors import Trouble
from twinscope.errors import UsageError
from twinscope.ingest import files
from twinscope.train import data, protocol, stock
from twinscope.train.data import Batch, Bytes, Rng, Window

LONG_PX = 1600
"""A picture whose longer side has more is shrunk to it; windows have at most 800 px, or the shorter side."""
WINDOWS = 2
"""Windows that a picture gives each time that it is seen, where it is large enough."""
COPIES = 2
"""Manipulated views of each window, beside the plain one."""
CLASSES, VERSIONS = 140, 3
"""Validation classes at most, and the manipulated versions of each."""

Heard = Callable[[int, int], None]


class Folder(NamedTuple):
    """The pictures of a folder: `stock` without drawn families, names, hashes of the pixels; and the troubles."""

    stock: stock.Stock
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    troubles: tuple[Trouble, ...]

    def groups(self) -> int:
        """Return how many groups there are."""
        return len({one.group for one in self.stock.pictures})


def read(folder: Path, most_px: int, heard: Heard) -> Folder:
    """Return the pictures of a folder that can be used; the others are troubles.

    Left out: what cannot be read or has more than `most_px` pixels, blank pictures, and copies of earlier ones. The
    pixels are kept in a nameless temporary file. heard: files done, of files. Raises UsageError where no picture is
    left, and where the temporary file finds no room.
    """
    sources, lost = vectors.listed([folder])
    name = files.shown(folder)
    pictures: list[stock.Picture] = []
    seen: dict[str, str] = {}
    groups: dict[str, int] = {}
    offset = 0
    with tempfile.TemporaryFile() as file:
        for done, source in enumerate(sources):
            heard(done, len(sources))
            image, trouble = vectors.picture(source, most_px)
            if image is not None:
                rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
                digest = hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).hexdigest()
                trouble = _useless(rgb, source.path, seen.get(digest)) or trouble
            if trouble is not None:
                lost.append(trouble)
            if image is None or (trouble is not None and trouble.status == "refused"):
                continue
            seen[digest] = source.path
            kept = _shrunk(rgb)
            group = groups.setdefault(vectors.group(Path(source.path).relative_to(name)), len(groups))
            pictures.append(stock.Picture(offset, len(kept), kept.shape[1], "own", group, "own"))
            offset += _write(file, kept)
        heard(len(sources), len(sources))
        if not pictures:
            why = f"; {len(lost)} files were left out, such as {lost[0].path}: {lost[0].reason}" if lost else ""
            raise UsageError(f"{folder} holds no picture that can be used{why}")
        pixels = np.memmap(file, np.uint8, "r")
    names = [Path(path).relative_to(name).as_posix() for path in seen.values()]
    listed = "\n".join(f"{path}\0{digest}" for path, digest in zip(names, seen, strict=True))
    drawn = np.zeros((0, stock.MEMBERS, data.SIDE, data.SIDE), np.uint8)
    whole = stock.Stock(pixels, pictures, drawn, hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest())
    return Folder(whole, tuple(seen.values()), tuple(seen), tuple(lost))


def _useless(rgb: Bytes, name: str, before: str | None) -> Trouble | None:
    """Return why a picture that can be read is left out; `before` is the same picture, read earlier."""
    if before is not None:
        return Trouble(name, "refused", f"a copy of {before}, pixel for pixel; left out")
    if data.blank(stock.whole(rgb)):
        return Trouble(name, "refused", "it shows next to nothing; left out")
    return None


def _shrunk(rgb: Bytes) -> Bytes:
    height, width = rgb.shape[:2]
    factor = LONG_PX / max(height, width)
    if factor >= 1:
        return rgb
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(file: IO[bytes], rgb: Bytes) -> int:
    try:
        file.write(np.ascontiguousarray(rgb).data)
        file.flush()
    except OSError as error:
        place = tempfile.gettempdir()
        raise UsageError(
            f"the pictures do not fit into {place} ({error.strerror}); set TMPDIR to a larger disk"
        ) from error
    return rgb.size


def check(training: Folder, validation: Folder) -> None:
    """Raise UsageError where a picture is in both folders, and where one holds a single group."""
    known = dict(zip(training.hashes, training.names, strict=True))
    both = [
        (known[digest], name)
        for digest, name in zip(validation.hashes, validation.names, strict=True)
        if digest in known
    ]
    if both:
        a, b = both[0]
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise UsageError(
            f"{b} is the same picture as {a}{more}; what is trained on cannot validate, take it out of one"
        )
    for name, folder in (("training", training), ("validation", validation)):
        if folder.groups() < 2:
            raise UsageError(
                f"the {name} pictures are all of one group, {folder.names[0]} and its neighbours, and may all show the "
                "same; give pictures of at least two sub-folders, or pictures that lie in none"
            )


def classes(folder: Folder, preset: str, seed: int) -> protocol.Classes:
    """Return the validation classes: windows of as many pictures as there are, plain and manipulated.

    Raises UsageError where they are of one group, and nothing is different for certain.
    """
    rng = np.random.default_rng([seed, 1])
    chosen = sorted(int(k) for k in rng.permutation(len(folder.stock.pictures))[:CLASSES])
    parts: list[Bytes] = []
    windows: list[Window] = []
    for number in chosen:
        for level, box, part in data.cut_one(folder.stock.picture(number), rng, 3, (data.SIDE,)):
            parts.append(part)
            windows.append(Window(number, folder.stock.pictures[number].group, level, "own", "own", box))
    if len({window.group for window in windows}) < 2:
        raise UsageError("too few of the validation pictures show anything in a part of them; give more pictures")
    return protocol.classes_of(np.stack(parts), windows, CLASSES, VERSIONS, preset, rng)


class EpochBatches(Dataset[Batch]):
    """Batch `step` of a run, from (seed, step) alone; in an epoch of `each` batches every picture is seen once.

    A picture gives up to `WINDOWS` fresh windows that do not overlap, a window a plain view and `COPIES` manipulated
    ones. Batches of an epoch are of one size, or differ by one picture.
    """

    def __init__(self, source: stock.Stock, seed: int, batch: int, side: int, epochs: int, preset: str) -> None:
        self.source, self.seed, self.side, self.epochs, self.preset = source, seed, side, epochs, preset
        self.each = -(-len(source.pictures) // batch)

    def __len__(self) -> int:
        return self.epochs * self.each

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, step])
        parts: list[Bytes] = []
        windows: list[Window] = []
        for cluster, number in enumerate(self.numbers(step)):
            for box, part in self._windows(self.source.picture(number), rng):
                parts.append(part)
                windows.append(Window(number, self.source.pictures[number].group, cluster, "own", "own", box))
        odds = ((1.0, 0.0), *((0.0, 1.0),) * COPIES)
        return stock.viewed(parts, windows, rng, self.side, ("anchor", self.preset), odds)

    def numbers(self, step: int) -> list[int]:
        """Return which pictures batch `step` shows. Raises IndexError beyond the last epoch."""
        if step >= len(self):
            raise IndexError(step)
        epoch, turn = divmod(step, self.each)
        order = np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.source.pictures))
        return [int(k) for k in np.array_split(order, self.each)[turn]]

    def _windows(self, picture: Bytes, rng: Rng) -> list[tuple[tuple[int, int, int, int], Bytes]]:
        """Return fresh windows of a picture; the picture as a whole where all of them are blank."""
        found = stock.cut_fresh(picture, rng, WINDOWS)
        return found or [((0, 0, picture.shape[1], picture.shape[0]), stock.whole(picture))]
