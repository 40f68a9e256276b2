"""Folders of pictures and masks: train a forest on them, and segment pictures with it, one after the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from twinscope import __version__, models, pixels
from twinscope.detect import forest, maps, segment, vectors
from twinscope.detect.vectors import Trouble
from twinscope.errors import InputError, ModelError, RefusedError, UsageError
from twinscope.ingest import files
from twinscope.ingest.files import Source
from twinscope.settings import Segment, Settings
from twinscope.types import Progress

DONE = "done.jsonl"
TABLE = "areas.csv"
FOLDERS = ("probability", "labels", "overlays")


class Pair(NamedTuple):
    """A picture and its mask."""

    image: Source
    mask: Path


class Applied(NamedTuple):
    """What a run of `apply` came to: a row a picture, how many of them were done before, and the troubles."""

    rows: list[dict[str, Any]]
    again: int
    troubles: list[Trouble]


def pairs(images: Path, masks: Path, scribbles: bool) -> tuple[list[Pair], int]:
    """Return the pictures of a folder with their masks, which go by the same name, and how many have none.

    The ending may differ. Raises UsageError for a mask without picture, for a picture without mask where the masks are
    full, for two files of one name, and where there is no mask at all.
    """
    named = {"picture": _named(images), "mask": _named(masks)}
    if not named["mask"]:
        raise UsageError(f"there is no mask in {masks}; each is named as its picture, such as a.png for a.tif")
    for name in sorted(named["mask"]):
        if name not in named["picture"]:
            raise UsageError(f"{named['mask'][name].file} is the mask of no picture in {images}; name both alike")
    bare = sorted(set(named["picture"]) - set(named["mask"]))
    if bare and not scribbles:
        raise UsageError(f"{named['picture'][bare[0]].file} has no mask in {masks}; add it, or take the picture out")
    found = [Pair(named["picture"][name], named["mask"][name].file) for name in sorted(named["mask"])]
    return found, len(bare)


def _named(folder: Path) -> dict[str, Source]:
    """Return the picture files of a folder by their names without ending."""
    sources, _ = files.expand([folder])
    out: dict[str, Source] = {}
    for source in sources:
        if files.EXTENSIONS.get(source.file.suffix.lower()) not in files.PICTURES:
            continue
        name = source.file.relative_to(folder).with_suffix("").as_posix() if folder.is_dir() else source.file.stem
        if name in out:
            raise UsageError(f"{out[name].file} and {source.file} have one name; rename one")
        out[name] = source
    return out


def train(
    images: Path, masks: Path, output: Path, settings: Settings, network: str = maps.SHIPPED, scribbles: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a forest on the pictures of a folder and their masks, write it, and return its card.

    network: a model's id, or the path of a graph of maps. progress: hears ("labelled", done, total) and
    ("forest", 0 or 1, 1). Raises UsageError for what cannot be learned from, ModelError as `maps.features`.
    """
    tell = progress or (lambda stage, done, total: None)
    stage = settings.segment
    found, bare = pairs(images, masks, scribbles)
    parts: list[segment.Places] = []
    digest = hashlib.sha256()
    for done, pair in enumerate(found):
        tell("labelled", done, len(found))
        rng = np.random.default_rng([settings.seed, done])
        mask = _mask(pair.mask, settings.ingest.limits.image_px)
        image = _picture(pair.image, settings)
        digest.update(image.tobytes() + mask.tobytes())
        try:
            most = -(-stage.most // len(found))
            parts.append(segment.sample(image, mask, network, stage, most, rng, scribbles, settings.threads))
        except UsageError as error:
            raise UsageError(f"{pair.image.path}: {error}") from error
    tell("labelled", len(found), len(found))
    values, told = (np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "objects"))
    if told.all() or not told.any():
        which = "objects" if told.size and told.all() else "background" if told.size else "nothing"
        marks = "1 is the background, 2 and more are objects" if scribbles else "0 is the background, the rest objects"
        raise UsageError(f"the masks in {masks} label {which} and no other kind; both are needed ({marks})")
    tell("forest", 0, 1)
    least = segment.leaf(stage, len(told))
    grown = forest.grow(values, told, stage.trees, least, settings.seed, settings.threads)
    card = _card(network, stage, settings) | {
        "pictures": len(found), "without_mask": bare, "places": len(told), "objects": round(float(told.mean()), 4),
        "leaf": least, "scribbles": scribbles, "features": int(values.shape[1]), "nodes": len(grown.feature),
        "data_sha256": digest.hexdigest(),
    }  # fmt: skip
    forest.save(output, grown, card)
    tell("forest", 1, 1)
    return card


def _card(network: str, stage: Segment, settings: Settings) -> dict[str, Any]:
    card = models.load(network, settings.threads).card
    return {"twinscope": __version__, "network": card.id, "network_sha256": card.sha256, "seed": settings.seed,
            "plain": stage.plain, "trees": stage.trees, "share": stage.share, "most": stage.most}  # fmt: skip


def _mask(path: Path, most_px: int) -> pixels.Labels:
    try:
        return pixels.read_labels(path, files.kind(path, path.name), most_px)
    except InputError as error:
        raise UsageError(f"the mask {path} cannot be used: {error}") from error


def _picture(source: Source, settings: Settings) -> pixels.Image:
    image, trouble = vectors.picture(source, settings.ingest.limits.image_px)
    if image is None:
        raise UsageError(f"the picture {source.path} cannot be used: {trouble.reason if trouble else 'it is empty'}")
    return image


def apply(
    model: Path, paths: Sequence[Path], out: Path, settings: Settings, network: str | None = None,
    progress: Progress | None = None,
) -> Applied:  # fmt: skip
    """Segment pictures with a model into a folder; what is done there already, by this model and these settings, stays.

    For each picture NAME of the inputs: probability/NAME.png (8 bit), labels/NAME.png (16 bit, 0 background, 1..n
    objects), overlays/NAME.png. network: the path of a graph of maps, for a model
    that was trained with one. Raises ModelError for a model that cannot be used; a picture that cannot be is a trouble.
    """
    tell = progress or (lambda stage, done, total: None)
    grown, card = forest.load(model)
    chosen = _network(card, network, model, settings)
    stage = settings.segment.model_copy(update={"plain": bool(card["plain"])})
    sources, troubles = vectors.listed(paths)
    key = _key(model, stage, card)
    before = _done(out / DONE, key)
    for name in FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    again = 0
    names = _outputs(sources)
    with (out / DONE).open("a", encoding="utf-8") as kept:
        for done, source in enumerate(sources):
            tell("segment", done, len(sources))
            name, row = names[done], None
            try:
                digest = files.sha256(source.file)
                there = [(out / folder / f"{name}.png").exists() for folder in FOLDERS]
                row = before.get((name, digest)) if all(there) else None
                if row is not None:
                    again += 1
                else:
                    if any(there):  # what lies there is about to be written over: no earlier row says what it is
                        _keep(kept, {"name": name, "key": ""})
                    row, trouble = _one(source, name, out, grown, chosen, stage, settings)
                    if row is not None:
                        _keep(kept, {"key": key, "sha256": digest, **row})
                    elif trouble is not None:
                        troubles.append(trouble)
            except (InputError, UsageError) as error:
                status = "refused" if isinstance(error, RefusedError | UsageError) else "failed"
                troubles.append(Trouble(source.path, status, str(error)))
            if row is not None:
                known = row["trouble"]
                troubles += [Trouble(source.path, *known)] if known else []
                rows.append({**_without(row, "trouble"), "image": source.path})
    tell("segment", len(sources), len(sources))
    return Applied(rows, again, troubles)


def _one(
    source: Source, name: str, out: Path, grown: forest.Forest, network: str, stage: Segment, settings: Settings
) -> tuple[dict[str, Any] | None, Trouble | None]:
    """Segment one picture and write what comes out; return its row, with what is wrong with it, or that alone."""
    image, trouble = vectors.picture(source, settings.ingest.limits.image_px)
    if image is None:
        return None, trouble
    probable = segment.probability(image, grown, network, stage, settings.threads)
    labels = segment.objects(probable, stage)
    pixels.write_png(out / "probability" / f"{name}.png", np.asarray(np.rint(probable * 255), np.uint8))
    pixels.write_labels(out / "labels" / f"{name}.png", labels)
    pixels.write_png(out / "overlays" / f"{name}.png", segment.overlay(image, labels))
    found = segment.areas(labels, probable)
    share = round(float(np.count_nonzero(labels)) / labels.size, 4)
    row = {"name": name, "image": source.path, "objects": len(found), "share": share, "areas": found}
    return row | {"trouble": trouble and [trouble.status, trouble.reason]}, None


def _network(card: dict[str, Any], own: str | None, model: Path, settings: Settings) -> str:
    """Return what a model's network is loaded by. Raises ModelError where it is not the one it was trained with."""
    chosen = own or str(card["network"])
    known = {one.id for one in models.cards()}
    if own is None and chosen not in known:
        raise ModelError(f"{model} was trained with a network of your own ({chosen}); name its .onnx with --network")
    if models.load(chosen, settings.threads).card.sha256 != card["network_sha256"]:
        raise ModelError(f"{model} was trained with another {card['network']} than {chosen} is; train it again")
    return chosen


def _key(model: Path, stage: Segment, card: dict[str, Any]) -> str:
    told = json.dumps([card["network_sha256"], stage.model_dump(mode="json"), __version__], sort_keys=True)
    return hashlib.sha256(model.read_bytes() + told.encode()).hexdigest()


def _outputs(sources: Sequence[Source]) -> list[str]:
    """Return a name for the output of each picture: its own without ending, with a number where it was there before.

    Bytes of it that are no UTF-8 are written as `files.shown` does.
    """
    names: list[str] = []
    for source in sources:
        stem, count = files.shown(source.file.stem), 1
        while (name := stem if count == 1 else f"{stem}-{count}") in names:
            count += 1
        names.append(name)
    return names


def _keep(kept: TextIO, row: dict[str, Any]) -> None:
    kept.write(json.dumps(row) + "\n")
    kept.flush()


def _done(path: Path, key: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what earlier runs did with this model and these settings and is still there, by name and hash.

    Of the rows of one name the last one counts, whatever it was made with: the files of that name are its own. Broken
    lines are nothing.
    """
    last: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, encoding="utf-8")
    for line in text.splitlines():
        try:
            row = json.loads(line)
            last[row["name"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    own = [row for row in last.values() if row.get("key") == key and {"sha256", "trouble"} <= set(row)]
    return {(row["name"], row["sha256"]): _without(row, "key", "sha256") for row in own}


def _without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}
