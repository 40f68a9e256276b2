"""The words of the report: probability, verdict and status in plain English, and text that cannot mislead."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from twinscope.report.groups import Group
from twinscope.types import Classes, Edit, EditKind, Finding, InputFile, Panel, Screening

STATUS = {
    "ok": "read in full",
    "partial": "read in part",
    "refused": "refused",
    "failed": "could not be read",
}

KINDS = {
    "micrograph": "micrograph",
    "blot": "blot or gel",
    "photo": "photograph",
    "graph": "graph",
    "diagram": "diagram",
    "other": "other picture",
}

EDITS: dict[EditKind, str] = {
    "erased": "Something that panel a shows is missing in panel b",
    "added": "Panel b shows something that panel a does not",
    "cloned": "Panel b shows the content of another place of b",
    "tone": "The same content, in other tones",
    "changed": "Other content",
}
"""What an edit is, in words that do not say which of the panels came first."""
REPEATED_A = "Panel a shows the content of another place of a"
"""What "cloned" is where it is a that repeats itself."""

CLASSES = {
    "benign": "same picture, nothing edited",
    "manipulated": "same picture, edited in places",
    "distinct": "different pictures",
}


class Trouble(NamedTuple):
    """One line under Problems: the file, its status or place, and the reason."""

    path: str
    status: str
    where: str
    reason: str


def visible(text: object) -> str:
    """Return text on one line with every control, bidirectional or unpaired character made visible.

    A file name must not be able to reorder or hide what stands around it: U+202E becomes "⟨U+202E⟩".
    """
    out = []
    for char in str(text):
        if char in "\n\r\t":
            out.append(" ")
        elif unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and char != "\u00ad":
            out.append(f"⟨U+{ord(char):04X}⟩")
        else:
            out.append(char)
    return "".join(out)


def edit(kind: EditKind, in_a: bool) -> str:
    """Return what an edit is in words; in_a: whether the other place of a clone lies in a."""
    return REPEATED_A if kind == "cloned" and in_a else EDITS[kind]


def likelihood(probability: float) -> str:
    """Return a probability in words."""
    steps = ((0.99, "Almost certainly"), (0.9, "Very likely"), (0.7, "Likely"), (0.4, "Possibly"))
    return next((word for least, word in steps if probability >= least), "Doubtfully") + " the same source"


def number(probability: float) -> str:
    """Return a probability as percent; never rounded to 0 % or 100 %."""
    percent = 100 * probability
    if percent > 99.9:
        return ">\u00a099.9\u00a0%"
    if percent < 0.1:
        return "<\u00a00.1\u00a0%"
    return f"{percent:.1f}\u00a0%" if percent >= 99 or percent < 1 else f"{percent:.0f}\u00a0%"


def classes(told: Classes | None) -> list[tuple[str, str, float]]:
    """Return for each class what it means, its probability as percent and as a number; none where nothing is told."""
    if told is None:
        return []
    shares = told.model_dump()
    return [(said, number(shares[name]), shares[name]) for name, said in CLASSES.items()]


def classes_line(told: Classes) -> str:
    """Return the three probabilities on one line: "same picture, nothing edited: 3 %; ..."."""
    return "; ".join(f"{said}: {percent}" for said, percent, _ in classes(told))


def edit_kinds(edits: Sequence[Edit]) -> str:
    """Return how many edits of each kind there are, in the order of their first: "2 erased, 1 cloned"."""
    return ", ".join(f"{n} {kind}" for kind, n in Counter(edit.kind for edit in edits).items())


def expectation(expected_false: float) -> str:
    """Return the number of false findings to expect in words."""
    if expected_false >= 0.5:
        return f"Expect about {expected_false:.1f} false findings at this level or above in a screening of this size."
    if expected_false < 1e-4:
        return "Expect fewer than 1 false finding at this level or above in 10,000 screenings of this size."
    return (
        f"Expect about 1 false finding at this level or above in {_round(1 / expected_false):,} "
        "screenings of this size."
    )


def caution(finding: Finding) -> str | None:
    """Return what is to be known of a finding that rests on the networks alone, None for every other one."""
    if not finding.evidence.get("laid"):
        return None
    alike = finding.evidence["correlation_1"]
    return (
        f"The two hardly correlate (r = {alike:.2f}): laid over each other as they are, they pass for one picture "
        "under heavy wear with the networks alone. Compare them by eye."
    )


def verdict(finding: Finding) -> tuple[str, str]:
    """Return the verdict as a short title and an explanation in plain words."""
    if finding.verdict == "benign":
        return (
            "No local change",
            "After lining the two panels up and matching their tone, nothing was found that tells them apart but what "
            "is listed under “From a to b”. Showing one picture twice can be right (a shared control, an overview and "
            "its detail, two channels of one field); the captions should then say so.",
        )
    one = len(finding.changes) == 1
    areas = "1 area still differs" if one else f"{count(len(finding.changes), 'area')} still differ"
    return (
        "Local content differs",
        f"After lining the two panels up and matching their tone, {areas}. "
        "Look at the outlined places: something may have been added, removed or copied there, "
        "or a label, an arrow or an inset lies over one of the pictures. Channels and filtered copies differ too.",
    )


def together(group: Group) -> tuple[str, str]:
    """Return what holds a group of findings together: a short title, and how firmly in plain words."""
    places = len(group.panels)
    same = all(finding.kind == "duplicate" for finding in group.findings)
    title = f"The same picture in {places} places" if same else f"Parts of the same picture in {places} places"
    possible = places * (places - 1) // 2
    if group.complete:
        how = "Every pair of these panels was found to show the same source."
    else:
        how = (
            f"{group.pairs} of {possible} possible pairs were found; the other pairs are tied by a panel between them."
        )
    least, most = number(group.findings[-1].probability), number(group.findings[0].probability)
    span = f"at {most}" if least == most else f"from {most} down to {least}"
    told = f"{count(len(group.findings), 'finding')}, {span}. {how}"
    if group.findings[-1].probability < 0.9 and not group.complete:
        told += " One weak pair can tie together what does not belong together: look at each."
    return title, told


def count(n: int, noun: str, plural: str = "") -> str:
    """Return "1 panel", "2 panels", "no panels"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {plural or noun + 's'}" if n else f"no {plural or noun + 's'}"


def library_of(screening: Screening) -> str:
    """Return what a screening was compared with beside itself ("the 12 panels of the library L"), or ""."""
    looked = screening.provenance.library
    if looked is None or not looked.panels:
        return ""
    return f"the {count(looked.panels, 'panel')} of the library {visible(looked.library)}"


def cannot_tell(library: str = "") -> tuple[str, ...]:
    """Return what a screening cannot tell; `library` says what else panels were compared with."""
    also = f" and with {library}" if library else ""
    return (
        "Whether a re-use is disclosed, justified or intended. It shows what two panels have in common; "
        "people judge why.",
        f"That a panel is original. Panels were compared with each other within these files{also}, "
        "not with other papers.",
        "Anything about graphs and diagrams: they are listed, but not compared as pictures.",
        "Anything about parts that could not be read. They are listed under Problems and were not screened.",
        "That no place was edited. Two panels are looked at in grey and at 224 px of the longer side: what changed in "
        "colour alone, in a few pixels or only a little in tone may go unseen.",
        "Certainty. A probability is an estimate; look at every pair before you act on it.",
    )


def troubles(screening: Screening) -> list[Trouble]:
    """Return what was not screened in full: inputs first, then problems; one line for equal reasons in one file.

    An input that was read in part is told by its problems alone, where its reason only repeats them.
    """
    reasons: dict[str, set[str]] = {}
    for problem in screening.problems:
        reasons.setdefault(problem.path, set()).add(problem.reason)
    inputs = [item for item in screening.inputs if item.status != "ok" and not _repeats(item, reasons)]
    out = [Trouble(item.path, STATUS[item.status], "", item.reason) for item in inputs]
    said = {(item.path, item.reason) for item in inputs if item.reason}
    pages: dict[tuple[str, str], list[int | None]] = {}
    for problem in screening.problems:
        if problem.page is not None or (problem.path, problem.reason) not in said:
            pages.setdefault((problem.path, problem.reason), []).append(problem.page)
    for (path, reason), numbers in pages.items():
        known = sorted({number for number in numbers if number is not None})
        where = f"{'page' if len(known) == 1 else 'pages'} {', '.join(map(str, known))}" if known else ""
        out.append(Trouble(path, "", where, reason))
    return out


def _repeats(item: InputFile, reasons: dict[str, set[str]]) -> bool:
    """Say whether the reason of an input read in part is only the sum of its problems."""
    told = reasons.get(item.path, set())
    return item.status == "partial" and bool(told) and (not item.reason or any(map(item.reason.endswith, told)))


def panel_names(screening: Screening, across: bool = True) -> dict[str, str]:
    """Return what people call each panel: "Figure 2 A"; "Figure 2, panel 3" where it has no label.

    Panels of one label are numbered ("Figure 2 A, panel 3"); those of a figure without a label go by its page or its
    file. No two of one document are alike and, with `across`, no two at all: the file's name is added where it must.
    """
    labels = {figure.id: visible(figure.label).strip() for figure in screening.figures}
    keys = {}
    for panel in screening.panels:
        page = f"Page {panel.source.page}" if panel.source.page else file_name(panel.source.path)
        figure = visible(panel.earlier.figure).strip() if panel.earlier else labels.get(panel.figure)
        keys[panel.id] = (panel.source.path, figure or page)
    total, sofar = Counter(keys.values()), Counter[tuple[str, str]]()
    lettered = Counter((keys[panel.id], visible(panel.label).strip()) for panel in screening.panels)
    out = {}
    for panel in screening.panels:
        key, label = keys[panel.id], visible(panel.label).strip()
        sofar[key] += 1
        alone = lettered[key, label] == 1 if label else total[key] == 1 and not key[1].startswith("Page ")
        name = f"{key[1]} {label}".strip()
        which = str(sofar[key])
        if panel.earlier:  # the other panels of its figure are not here
            alone = bool(label and panel.earlier.figure)
            which = visible(panel.earlier.panel).rpartition("-")[2]
        out[panel.id] = name if alone else f"{name}, panel {which}"
    if not across:
        return out
    files = {panel.id: document(panel) for panel in screening.panels}
    ids = {panel.id: visible(panel.id) for panel in screening.panels}
    return _told_apart(_told_apart(out, files), ids)


def _told_apart(names: dict[str, str], extra: dict[str, str]) -> dict[str, str]:
    """Return the names with `extra` in brackets where panels of one name differ in it."""
    alike: dict[str, set[str]] = {}
    for key, name in names.items():
        alike.setdefault(name, set()).add(extra[key])
    return {key: f"{name} ({extra[key]})" if len(alike[name]) > 1 else name for key, name in names.items()}


def document(panel: Panel) -> str:
    """Return what the document of a panel is called: its file; of one in the library its title, too."""
    name = file_name(panel.source.path)
    if panel.earlier is None:
        return name
    return (
        f"{visible(panel.earlier.title)} ({name}, in the library)" if panel.earlier.title else f"{name}, in the library"
    )


def file_name(path: object) -> str:
    """Return the last part of a path, made visible."""
    return visible(re.split(r"[\\/]", str(path).rstrip("\\/"))[-1] or path)


def _round(value: float) -> int:
    """Return a number rounded to two digits that count."""
    digits = len(str(int(value))) - 2
    return int(round(value, -digits)) if digits > 0 else round(value)
