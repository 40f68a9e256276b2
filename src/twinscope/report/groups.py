"""Findings that share a panel, or a chain of them, told together: one picture in three places is one story."""

from __future__ import annotations

from typing import NamedTuple

from twinscope.types import Finding, Screening


class Group(NamedTuple):
    """Findings that hang together, the most probable first, and the ids of their panels in document order."""

    findings: tuple[Finding, ...]
    panels: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Count the different pairs of panels that were found."""
        return len({frozenset((finding.a, finding.b)) for finding in self.findings})

    @property
    def complete(self) -> bool:
        """Tell whether each two of the panels were found to show the same source."""
        return self.pairs >= len(self.panels) * (len(self.panels) - 1) // 2


def groups(screening: Screening) -> list[Group]:
    """Return the connected findings of a screening, by the best probability of each group.

    Ties stand in the order of the screening. Panels of a library, which are none of the screening, come last.
    """
    heads: dict[str, str] = {}
    for finding in screening.findings:
        heads[_head(heads, finding.a)] = _head(heads, finding.b)
    together: dict[str, list[Finding]] = {}
    for finding in sorted(screening.findings, key=lambda finding: -finding.probability):
        together.setdefault(_head(heads, finding.a), []).append(finding)
    place = {panel.id: number for number, panel in enumerate(screening.panels)}
    out = []
    for findings in together.values():
        seen = dict.fromkeys(name for finding in findings for name in (finding.a, finding.b))
        panels = sorted(seen, key=lambda name: place.get(name, len(place)))
        out.append(Group(tuple(findings), tuple(panels)))
    return out


def ordered(screening: Screening) -> list[Finding]:
    """Return the findings in the order in which every output tells them: group by group."""
    return [finding for group in groups(screening) for finding in group.findings]


def _head(heads: dict[str, str], name: str) -> str:
    """Return the panel that stands for all that are linked with this one, and shorten the way to it."""
    way = []
    while name in heads and heads[name] != name:
        way.append(name)
        name = heads[name]
    for step in way:
        heads[step] = name
    return name
