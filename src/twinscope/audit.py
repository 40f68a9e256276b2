"""Which real pictures trained a generator: folders in, an audit out. The numbers are those of `detect.fingerprint`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinscope import __version__, aligning, models, pixels
from twinscope.detect import embed, fingerprint, known, vectors
from twinscope.detect.fingerprint import Copies, Floats, Verdict
from twinscope.detect.known import Learned
from twinscope.detect.vectors import Trouble
from twinscope.errors import UsageError
from twinscope.ingest.files import Source
from twinscope.settings import Settings
from twinscope.types import Audit, Audited, Learning, Near, Progress, Provenance, Statement, Unread

KEPT = "vectors.jsonl"
RECORD = "audit.json"
USED, UNUSED = ("real_used", "used"), ("real_not_used", "real_unused", "not_used", "unused")
OPEN, GENERATED = ("real_unknown", "real_all", "real"), ("generated", "synthetic", "artificial")
"""What the folders of the ImageCLEF task are called, in the task and in what its teams published."""


class Part(NamedTuple):
    """Real pictures and what one generator made: files, and which of the real ones are known to be (un)used."""

    real: list[Source]
    made: list[Source]
    known: dict[str, bool]
    troubles: list[Trouble]


class _Set(NamedTuple):
    """Pictures that were read: names, hashes, points (n, 128), and as they are laid over each other (n, s, s)."""

    names: list[str]
    hashes: list[str]
    points: NDArray[np.float32]
    small: NDArray[np.float32]


class _Seen(NamedTuple):
    """What a part gives: real and generated pictures, distances (n, m), copies by each kind, p-values, alignments."""

    real: _Set
    made: _Set
    far: Floats
    apart: Floats
    copies: list[Copies]
    p: Floats
    aligned: list[dict[int, float]]


# --- what is audited ----------------------------------------------------------------------------------------------


def of_folders(real: Path, generated: Path, lists: tuple[Path, Path] | None = None) -> Part:
    """Return a part of two folders; lists: files that name used and unused real pictures, one a line.

    A line is a path below `real`; empty lines and those that begin with # do not count. Raises UsageError where a list
    cannot be read, names what is not there or what the other one names, and where the two folders share files.
    """
    found, lost = vectors.listed([real])
    made, lost_made = vectors.listed([generated])
    both = {one.file.resolve() for one in found} & {one.file.resolve() for one in made}
    if both:
        raise UsageError(f"{sorted(both)[0]} is in both folders; real and generated pictures must lie apart")
    return Part(found, made, _named(real, found, lists) if lists else {}, [*lost, *lost_made])


def _named(real: Path, found: Sequence[Source], lists: tuple[Path, Path]) -> dict[str, bool]:
    names = {one.file.relative_to(real).as_posix() if real.is_dir() else one.file.name: one.path for one in found}
    told: dict[str, bool] = {}
    for path, used in zip(lists, (True, False), strict=True):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the list {path} cannot be read ({error}); give a text file of names") from error
        for line in filter(None, map(str.strip, lines)):
            if line.startswith("#"):
                continue
            if line not in names:
                raise UsageError(f"{path} names {line}, which is not below {real}; write each as it lies there")
            if told.setdefault(names[line], used) != used:
                raise UsageError(f"{line} is named as used and as unused; take it out of one list")
    return told


def of_imageclef(folder: Path) -> list[Part]:
    """Return the parts of a folder laid out as the ImageCLEF GANs task has it.

    A part is a folder that holds generated/ beside real_used/ and real_not_used/, or real_unknown/ (see USED, UNUSED,
    OPEN and GENERATED for other names of theirs); the folder is one itself, or holds some (development, test). Raises
    UsageError where there is none, where real pictures are missing, and where used ones are without unused ones.
    """
    places = [one for one in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())) if _inside(one, GENERATED)]
    if not places:
        raise UsageError(f"{folder} holds no folder {' or '.join(GENERATED)}, nor do the folders in it")
    out = []
    for place in places:
        used, unused, unknown = (_inside(place, names) for names in (USED, UNUSED, OPEN))
        if not (used or unused or unknown):
            raise UsageError(f"{place} holds generated pictures and no real ones; name them {USED[0]} or {OPEN[0]}")
        if bool(used) != bool(unused):
            there, missing = (USED[0], UNUSED[0]) if used else (UNUSED[0], USED[0])
            raise UsageError(f"{place} holds {there} and no {missing}; both are needed to learn from")
        made, troubles = vectors.listed([p for p in (_inside(place, GENERATED),) if p])
        real: list[Source] = []
        told: dict[str, bool] = {}
        for one, answer in ((used, True), (unused, False), (unknown, None)):
            found, lost = vectors.listed([one] if one else [])
            real += found
            troubles += lost
            told |= {source.path: answer for source in found if answer is not None}
        out.append(Part(real, made, told, troubles))
    return out


def _inside(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def opener(parts: Sequence[Part], settings: Settings) -> Callable[[str], pixels.Image | None]:
    """Return a function that gives the picture of a path of these parts, or None where it cannot be read any more."""
    files = {one.path: one for part in parts for one in (*part.real, *part.made)}

    def opened(path: str) -> pixels.Image | None:
        return vectors.picture(files[path], settings.ingest.limits.image_px)[0] if path in files else None

    return opened


# --- the audit ----------------------------------------------------------------------------------------------------


def audit(
    parts: Sequence[Part], case: Path, settings: Settings, progress: Progress | None = None, command: str = ""
) -> Audit:
    """Audit parts, each with its own generator, and return the record.

    What is known of any part is learned from for all; without, each probability comes from the p-values of its part.
    Vectors are kept in the folder `case`, so that a second run goes on. progress: hears ("vectors", done, total) and of
    ("overlaid" and "aligned"). command: what made it, for the provenance. Raises UsageError where there are too few
    pictures, or too few known ones.
    """
    began = time.monotonic()
    tell = progress or (lambda stage, done, total: None)
    case.mkdir(parents=True, exist_ok=True)
    seen, troubles = [], [trouble for part in parts for trouble in part.troubles]
    for part in parts:
        one, lost = _look(part, case / KEPT, settings, tell)
        seen.append(one)
        troubles += lost
    told = {name: answer for part in parts for name, answer in part.known.items()}
    verdicts = [fingerprint.verdict(one.p, settings.fingerprint) for one in seen]
    learned = _learned(seen, told, settings)
    images = [image for k, one in enumerate(seen) for image in _images(one, verdicts[k], told, settings)]
    if learned is not None:
        images = [image.model_copy(update={"probability": float(value)})
                  for image, value in zip(images, learned.probability, strict=True)]  # fmt: skip
    asked = [k for k, part in enumerate(parts) if len(part.known) < len(part.real)] or list(range(len(parts)))
    return Audit(
        real=len(images),
        generated=sum(len(one.made.names) for one in seen),
        statement=_statement([verdicts[k] for k in asked], [len(seen[k].p) for k in asked], learned, told, images),
        images=tuple(sorted(images, key=lambda image: (-image.probability, image.p, image.path))),
        problems=tuple(Unread(path=one.path, status=_status(one), reason=one.reason) for one in troubles),
        seconds=round(time.monotonic() - began, 3),
        provenance=Provenance(
            twinscope=__version__,
            models={embed.MODEL: models.load(embed.MODEL, settings.threads).card.sha256},
            settings_sha256=settings.sha256(),
            seed=settings.seed,
            command=command,
        ),
    )


def _status(trouble: Trouble) -> Any:
    return trouble.status


def _look(part: Part, kept: Path, settings: Settings, tell: Progress) -> tuple[_Seen, list[Trouble]]:
    """Return what the pictures of a part say, and what could not be read of them."""
    asked = settings.fingerprint
    real, lost = _read(part.real, kept, settings, tell)
    made, lost_made = _read(part.made, kept, settings, tell, copies=True)
    if len(real.names) < fingerprint.LEAST or not made.names:
        counts = f"{len(real.names)} real and {len(made.names)} generated pictures could be read"
        raise UsageError(f"{counts}; at least {fingerprint.LEAST} and 1 are needed")
    tell("overlaid", 0, 2)
    rng = np.random.default_rng(settings.seed)
    some = rng.permutation(len(made.names))[: fingerprint.MOST_MADE]
    still = asked.model_copy(update={"turned": False, "shift_px": 0})
    apart = fingerprint.pixel_distances(real.small, made.small, asked)
    among = fingerprint.pixel_distances(real.small, real.small, asked)
    made_apart = fingerprint.pixel_distances(made.small[some], made.small[some], still)
    tell("overlaid", 1, 2)
    far, real_far = _far(real, made), _far(real, real)
    made_far = np.asarray(embed.distances(made.points[some], made.points[some]), np.float64)
    copies = [
        fingerprint.of_distance(apart, among, made_apart, asked),
        fingerprint.of_distance(far, real_far, made_far, asked),
    ]
    values = [one.p for one in copies]
    tell("overlaid", 2, 2)
    aligned: list[dict[int, float]] = [{} for _ in real.names]
    if asked.aligned:
        aligned, chance = aligning.aligned(part.real, part.made, (real, made), (apart, far, among), settings, tell)
        values.append(chance)
    return _Seen(real, made, far, apart, copies, fingerprint.combined(values), aligned), [*lost, *lost_made]


def _far(a: _Set, b: _Set) -> Floats:
    return np.asarray(embed.distances(a.points, b.points), np.float64)


def _read(
    sources: Sequence[Source], kept: Path, settings: Settings, tell: Progress, copies: bool = False
) -> tuple[_Set, list[Trouble]]:
    """Return pictures that can be read; copies: whether a file that is another one, byte for byte, counts once more."""
    found = vectors.embedded(sources, kept, settings, tell)
    by_name = {one.path: one for one in sources}
    troubles, seen = list(found.troubles), dict[str, str]()
    names, hashes, points, small = [], [], [], []
    for name, digest, point in zip(found.paths, found.sha256, found.points, strict=True):
        if not copies and digest in seen:
            troubles.append(Trouble(name, "refused", f"a copy of {seen[digest]}, byte for byte; what is told of that "
                                                     "one goes for both"))  # fmt: skip
            continue
        image, trouble = vectors.picture(by_name[name], settings.ingest.limits.image_px)
        if image is None:
            troubles += [trouble] if trouble else []
            continue
        seen[digest] = name
        names.append(name)
        hashes.append(digest)
        points.append(point)
        small.append(fingerprint.small(image, settings.fingerprint.side_px))
    side = settings.fingerprint.side_px
    stacked = np.stack(small) if small else np.zeros((0, side, side), np.float32)
    return _Set(names, hashes, np.array(points, np.float32).reshape(-1, vectors.DIMENSIONS), stacked), troubles


def _learned(seen: Sequence[_Seen], told: dict[str, bool], settings: Settings) -> Learned | None:
    """Return what is learned of known pictures, for all pictures of all parts one after the other; None without."""
    if not told:
        return None
    best = [np.array([max(row.values(), default=0.0) for row in one.aligned]) for one in seen]
    values = np.concatenate([known.signals(one.copies, one.p, row) for one, row in zip(seen, best, strict=True)])
    names = [name for one in seen for name in one.real.names]
    is_known = np.array([name in told for name in names])
    used = np.array([told.get(name, False) for name in names])
    return known.learn(values, used, is_known, settings.fingerprint, settings.seed)


def _images(one: _Seen, verdict: Verdict, told: dict[str, bool], settings: Settings) -> list[Audited]:
    out = []
    for k, name in enumerate(one.real.names):
        order = nearest(one.apart[k], one.far[k], settings.fingerprint.shown, one.aligned[k])
        near = [
            Near(path=one.made.names[g], distance=round(float(one.far[k, g]), 4),
                 apart=round(float(one.apart[k, g]), 4), aligned=one.aligned[k].get(g))
            for g in order
        ]  # fmt: skip
        best = min(one.copies, key=lambda kind: kind.p[k])
        answer = told.get(name)
        out.append(
            Audited(
                path=name, sha256=one.real.hashes[k], probability=float(verdict.probability[k]), p=float(one.p[k]),
                known=None if answer is None else "used" if answer else "unused",
                margin=round(float(best.margin[k]), 4), nearest_to=int(one.copies[0].hits[k]), near=tuple(near),
            )
        )  # fmt: skip
    return out


def nearest(apart: Floats, far: Floats, count: int, aligned: dict[int, float]) -> list[int]:
    """Return the generated pictures nearest to a real one, by both distances (m,), each relative to its median.

    What aligns comes first.
    """
    parts = [np.log(np.maximum(one, 1e-6) / max(float(np.median(one)), 1e-6)) for one in (apart, far)]
    order = parts[0] + parts[1]
    for g, probability in aligned.items():
        order[g] -= 10 * (probability > 0.5)
    return [int(g) for g in np.argsort(order, kind="stable")[:count]]


# --- the statement ------------------------------------------------------------------------------------------------


def _statement(
    verdicts: Sequence[Verdict], sizes: Sequence[int], learned: Learned | None, told: dict[str, bool],
    images: Sequence[Audited],
) -> Statement:  # fmt: skip
    """Return the statement on the set: of the part with the most evidence where there are several."""
    which = min(range(len(verdicts)), key=lambda k: verdicts[k].p)
    one, n = verdicts[which], sizes[which]
    p = min(1.0, one.p * len(verdicts))
    learning = None
    if learned is not None:
        known_ones = [image for image in images if image.path in told]
        used = sum(told[image.path] for image in known_ones)
        learning = Learning(
            used=used, unused=len(known_ones) - used, evidence=learned.evidence, auc=learned.auc,
            auc_low=learned.interval.low, auc_high=learned.interval.high, p=learned.p, brier=learned.brier,
            reliability=tuple((row.predicted, row.observed, row.items) for row in learned.reliability),
        )  # fmt: skip
    evidence = one.evidence or (learning is not None and learning.evidence)
    prior = one.prior if learned is None else learning.used / max(1, learning.used + learning.unused) if learning else 0
    return Statement(
        evidence=evidence, p=p, share=one.share, share_low=one.interval.low, share_high=one.interval.high,
        prior=prior, sentences=tuple(sentences(one, n, p, learning)), learning=learning,
    )  # fmt: skip


def sentences(one: Verdict, n: int, p: float, learning: Learning | None) -> list[str]:
    """Return what an audit says of the whole set, in sentences; n: real pictures."""
    chance = fingerprint.chance(p)
    low, high = (f"{100 * end:.0f} %" for end in one.interval)
    if one.evidence:
        out = [f"Copies of real pictures are among the generated ones, more than accident gives ({chance}): about "
               f"{100 * one.share:.0f} % of {n} real pictures come back (95 % interval {low} to {high})."]  # fmt: skip
    else:
        out = [f"No evidence of copies: no more generated pictures lie close to single real ones than accident gives "
               f"({chance}). If any of the {n} real pictures come back so that it could be seen, then at most about "
               f"{high} of them (upper end of the 95 % interval)."]  # fmt: skip
    if learning is not None:
        told = (f"AUC {learning.auc:.2f}, 95 % interval {learning.auc_low:.2f} to {learning.auc_high:.2f}, "
                f"{fingerprint.chance(learning.p)}, Brier score {learning.brier:.3f}")  # fmt: skip
        out.append(
            f"The {learning.used} pictures known to be used can be told from the {learning.unused} known to be unused "
            f"({told}); the probabilities are learned from them."
            if learning.evidence
            else f"The {learning.used} pictures known to be used cannot be told from the {learning.unused} known to be "
            f"unused ({told}); every probability is left at their share."
        )
    elif not one.evidence:
        out.append(f"So every probability is left at the prior of {one.prior:.2g}: that is chance, not an answer.")
    out.append("A generator can learn from a picture and never show it again: that nothing comes back proves nothing.")
    return out
