"""From picture files to points: decode, embed, keep what is done; and the table of vectors as a Parquet file.

Pictures are decoded in this process, whole, and not split into panels. Of a file that holds several pictures (a TIFF of
many pages, an animation) the first one is taken, and a problem says so; documents and archives are refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope import __version__, models, pixels
from twinscope.detect import embed
from twinscope.errors import BrokenError, InputError, RefusedError, UsageError
from twinscope.ingest import files
from twinscope.ingest.files import Source
from twinscope.settings import Settings
from twinscope.types import Progress

DIMENSIONS = 128
CHUNK = 64
"""Pictures that are embedded and kept together: what an interruption costs at most."""
MAGIC = b"PAR1"


class Trouble(NamedTuple):
    """A file that gave no vector (refused, failed) or not all that is in it (partial), and why in one sentence."""

    path: str
    status: str
    reason: str


class Vectors(NamedTuple):
    """Pictures in the order of the inputs: names, hashes of their files, points (n, 128) float32; and the troubles."""

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    points: NDArray[np.float32]
    troubles: tuple[Trouble, ...]


class _Seen(NamedTuple):
    """A file that was looked at: no point where it cannot be read or is still to be embedded."""

    source: Source
    sha256: str = ""
    small: NDArray[np.uint8] | None = None
    point: NDArray[np.float32] | None = None
    trouble: Trouble | None = None


def listed(paths: Sequence[Path], without: Sequence[Path] = ()) -> tuple[list[Source], list[Trouble]]:
    """Return the files that paths name, folders expanded, each name once, and what is left out and why.

    without: files that are left out of folders without a word, such as the output of an earlier run.
    """
    sources, skipped = files.expand(paths)
    ours = {os.path.realpath(path) for path in without}
    names = {source.path: source for source in sources if os.path.realpath(source.file) not in ours}
    left_out = [item for item in skipped if os.path.realpath(item.path) not in ours]
    return list(names.values()), [Trouble(item.path, "refused", item.reason) for item in left_out]


def embedded(
    sources: Sequence[Source],
    kept: Path,
    settings: Settings,
    progress: Progress | None = None,
    model: str = embed.MODEL,
) -> Vectors:
    """Return the points of picture files; what stands in the file `kept` already is not done again.

    kept: JSON lines that are added to as the work goes on, each under the hash of the file's bytes, and of the model,
    the version and the limit on pixels. progress: hears ("vectors", files done, files). model: see `models.load`.
    A file that cannot be read is a trouble, never an exception; UsageError where `kept` cannot be written, ModelError
    where the model is not the one of its card.
    """
    tell = progress or (lambda stage, done, total: None)
    weights = models.load(model, settings.threads).card.sha256
    key = hashlib.sha256(f"{weights} {__version__} {settings.ingest.limits.image_px}".encode()).hexdigest()
    done = _restored(kept, key)
    seen: list[_Seen] = []
    tell("vectors", 0, len(sources))
    try:
        with kept.open("a", encoding="ascii") as file:
            for start in range(0, len(sources), CHUNK):
                looked = [_look(one, done, settings) for one in sources[start : start + CHUNK]]
                chunk = _embedded(looked, settings, model)
                for one in chunk:
                    if one.sha256 and one.sha256 not in done:
                        done[one.sha256] = one
                        file.write(_line(one, key))
                file.flush()
                seen += chunk
                tell("vectors", len(seen), len(sources))
    except OSError as error:
        raise UsageError(f"{kept} cannot be written ({error.strerror}); name another place") from error
    good = [one for one in seen if one.point is not None]
    points = np.stack([one.point for one in good if one.point is not None]) if good else np.zeros((0, DIMENSIONS))
    return Vectors(
        tuple(one.source.path for one in good),
        tuple(one.sha256 for one in good),
        np.asarray(points, np.float32),
        tuple(one.trouble for one in seen if one.trouble is not None),
    )


def _look(source: Source, done: dict[str, _Seen], settings: Settings) -> _Seen:
    """Return what a file gives: what is kept of its bytes, or its picture as the network sees it."""
    try:
        kind = _kind(source)
        digest = files.sha256(source.file)
        before = done.get(digest)
        if before is not None:
            trouble = before.trouble and before.trouble._replace(path=source.path)
            return before._replace(source=source, trouble=trouble)
        image, more = _decoded(source.file, kind, settings.ingest.limits.image_px)
    except (InputError, ValueError) as error:
        return _Seen(source, trouble=_unread(source, error))
    return _Seen(source, digest, embed.prepare(image), None, _in_part(source) if more else None)


def picture(source: Source, most_px: int) -> tuple[NDArray[np.uint8] | None, Trouble | None]:
    """Return the first picture of a file, HxW or HxWx3 RGB uint8, and what is wrong with the file.

    The picture is None where the file cannot be read or has more than `most_px` pixels; the trouble is None where
    nothing is wrong, and "partial" where the file holds more pictures.
    """
    try:
        image, more = _decoded(source.file, _kind(source), most_px)
    except (InputError, ValueError) as error:
        return None, _unread(source, error)
    return image, _in_part(source) if more else None


def group(path: Path) -> str:
    """Return the group of a picture, by its path in the folder that was named: the first sub-folder, or itself."""
    return path.parts[0] + ("/" if len(path.parts) > 1 else "")


def _kind(source: Source) -> str:
    """Return the kind of a picture file. Raises RefusedError for another file, BrokenError where it is damaged."""
    kind = files.kind(source.file, source.path)
    if kind not in files.PICTURES:
        raise RefusedError(f"{kind.upper()} is not a picture file; take the pictures out first, or use `screen`")
    return kind


def _unread(source: Source, error: InputError | ValueError) -> Trouble:
    if not isinstance(error, InputError):  # a name that no file can have
        return Trouble(source.path, "failed", f"the file cannot be opened ({error})")
    return Trouble(source.path, "refused" if isinstance(error, RefusedError) else "failed", str(error))


def _in_part(source: Source) -> Trouble:
    return Trouble(source.path, "partial", "the file holds several pictures; only the first is taken")


def _decoded(file: Path, kind: str, most_px: int) -> tuple[NDArray[np.uint8], bool]:
    """Return the first picture of a file and whether there are more. Raises RefusedError and BrokenError."""
    if kind != "tiff":
        image, frames = pixels.decode(file, kind, most_px)
        return image, frames > 1
    pictures: Iterator[tuple[int, NDArray[np.uint8]]] = pixels.decode_tiff(file, most_px, most_pages=2)
    first = next(pictures, None)
    if first is None:
        raise BrokenError("the TIFF holds no picture")
    try:
        more = next(pictures, None) is not None
    except InputError:
        more = True  # a second page that cannot be read is a second page
    return first[1], more


def _embedded(looked: Sequence[_Seen], settings: Settings, model: str) -> list[_Seen]:
    """Return files with the points of those that wait for one."""
    smalls = [one.small for one in looked if one.small is not None]
    points = iter(embed.embed(smalls, model, settings.threads))
    return [one if one.small is None else one._replace(small=None, point=next(points)) for one in looked]


def _line(one: _Seen, key: str) -> str:
    point = None if one.point is None else base64.b64encode(one.point.astype("<f4").tobytes()).decode()
    trouble = one.trouble and [one.trouble.status, one.trouble.reason]
    return json.dumps({"key": key, "sha256": one.sha256, "point": point, "trouble": trouble}) + "\n"


def _restored(kept: Path, key: str) -> dict[str, _Seen]:
    """Return what an earlier run kept, by the hash of the file; broken lines and lines of another model are nothing."""
    out: dict[str, _Seen] = {}
    if not kept.is_file():
        return out
    text = kept.read_text(encoding="ascii", errors="replace")
    if text and not text.endswith("\n"):  # an interrupted line has no end; the next one must not be added to it
        text = text[: text.rfind("\n") + 1]
        kept.write_text(text, encoding="ascii", errors="replace")
    for line in text.splitlines():
        try:
            row = json.loads(line)
            point = np.frombuffer(base64.b64decode(row["point"], validate=True), "<f4").astype(np.float32)
            fits = row["key"] == key and point.shape == (DIMENSIONS,)
        except (ValueError, KeyError, TypeError):
            continue
        if fits:
            trouble = Trouble("", *row["trouble"]) if row["trouble"] else None
            out[row["sha256"]] = _Seen(Source(Path(), ""), row["sha256"], None, point, trouble)
    return out


def write(found: Vectors, path: Path, model: str = embed.MODEL) -> None:
    """Write vectors as a Parquet file: `path` (string) and `vector` (fixed-size list of 128 float32), in that order.

    The Euclidean distance of two vectors is the metric, with its border at 1; the file's schema names the model. The
    file is there in whole or not at all. Raises UsageError where it cannot be written.
    """
    import pyarrow  # here, as nothing else needs it
    import pyarrow.parquet

    names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in found.paths]
    flat = pyarrow.array(np.ascontiguousarray(found.points, np.float32).ravel())
    vectors = pyarrow.FixedSizeListArray.from_arrays(flat, DIMENSIONS)
    table: Any = pyarrow.table({"path": pyarrow.array(names, pyarrow.string()), "vector": vectors})
    card = models.load(model).card
    about = {"twinscope": __version__, "model": card.id, "model_sha256": card.sha256, "border": "1"}
    half = path.with_name(path.name + ".new")
    try:
        pyarrow.parquet.write_table(table.replace_schema_metadata(about), half)
        half.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error})") from error
