"""Make sentences that look like those of a paper and say nothing."""

from __future__ import annotations

import numpy as np

Rng = np.random.Generator
SUBJECTS = (
    "The treated cells",
    "Cultures at high density",
    "Nuclei in the outer zone",
    "Control samples",
    "These fibres",
    "The stained sections",
    "Fields chosen at random",
    "Cells from the second passage",
    "The labelled bands",
    "Samples kept at 4 °C",
    "Both cell lines",
    "The remaining tissue",
)
VERBS = ("showed", "retained", "lost", "displayed", "reached", "had", "developed", "kept")
OBJECTS = (
    "a regular spacing of nuclei",
    "a lower signal than expected",
    "the same pattern in three experiments",
    "a band near 42 kDa",
    "long processes along the fibre axis",
    "no visible change in shape",
    "a moderate rise of the mean intensity",
    "an even distribution over the field",
    "a dense layer of collagen",
    "the expected doubling time",
)
TAILS = (
    "after 24 h of culture",
    "in the presence of serum",
    "when the medium was changed daily",
    "under all conditions tested",
    "as reported before [{n}]",
    "(Fig. {f})",
    "(Fig. {f}), in line with earlier work [{n}]",
    "at both time points",
    "although the spread was large",
    "compared with the vehicle alone (n = {k})",
)
METHODS = (
    "Images were taken with a 20x objective and a cooled camera",
    "Membranes were blocked for one hour and incubated overnight",
    "Sections of 5 µm were cut and stained by the standard protocol",
    "Cells were fixed in 4 % formaldehyde and washed three times",
    "Values are given as mean and standard deviation",
    "Groups were compared with a two-sided t-test",
    "Counts were made by two observers who did not know the group",
    "Lysates were cleared at 12,000 g for ten minutes",
)
NOUNS = (
    "nuclear spacing",
    "fibre alignment",
    "membrane staining",
    "cell density",
    "band intensity",
    "matrix deposition",
    "colony growth",
    "vesicle transport",
    "wound closure",
    "protein turnover",
)
PLACES = (
    "cultured monolayers",
    "thin tissue sections",
    "low-serum conditions",
    "three-dimensional gels",
    "early passages",
    "a model of wound repair",
    "regenerating epithelium",
)
FIRST = ("Anna", "Jon", "Mei", "Omar", "Ines", "Paul", "Sara", "Tomas", "Lena", "Ravi", "Nora", "Emil")
LAST = ("Berg", "Okafor", "Tanaka", "Silva", "Novak", "Meyer", "Dubois", "Kaya", "Lind", "Rossi", "Haddad", "Moreau")
HEADINGS = ("Introduction", "Results", "Discussion", "Materials and methods", "Statistics", "Limitations")


def sentence(rng: Rng, figures: int) -> str:
    """Return one sentence; it may point at one of `figures` figures."""
    if rng.random() < 0.25:
        return _pick(rng, METHODS) + "."
    tail = _pick(rng, TAILS).format(n=rng.integers(1, 40), f=rng.integers(1, max(2, figures + 1)), k=rng.integers(3, 9))
    return f"{_pick(rng, SUBJECTS)} {_pick(rng, VERBS)} {_pick(rng, OBJECTS)} {tail}."


def paragraph(rng: Rng, figures: int) -> str:
    """Return four to eight sentences."""
    return " ".join(sentence(rng, figures) for _ in range(int(rng.integers(4, 9))))


def title(rng: Rng) -> str:
    """Return the title of a paper."""
    a, b = (str(n) for n in rng.choice(NOUNS, 2, replace=False))
    return f"{a.capitalize()} follows {b} in {_pick(rng, PLACES)}"


def authors(rng: Rng) -> str:
    """Return three to six names."""
    count = int(rng.integers(3, 7))
    pairs = zip(rng.choice(FIRST, count, replace=False), rng.choice(LAST, count, replace=False), strict=True)
    return ", ".join(f"{first} {last}" for first, last in pairs)


def caption(rng: Rng, number: int, letters: str) -> str:
    """Return the caption of a figure with these panel letters."""
    parts = [f"Figure {number}. {_pick(rng, NOUNS).capitalize()} in {_pick(rng, PLACES)}."]
    for letter in letters[:6]:
        parts.append(f"({letter}) {_pick(rng, SUBJECTS)} {_pick(rng, TAILS[:4])}.")
    parts.append(f"Scale bars, {_pick(rng, ('10', '20', '50', '100'))} µm.")
    return " ".join(parts)


def reference(rng: Rng, number: int) -> str:
    """Return one entry of a list of references."""
    first = "ABCDEFGHIJKLMNOPRST"[int(rng.integers(19))]
    where = f"J. Drawn Res. {rng.integers(2, 40)}, {rng.integers(1, 900)} ({rng.integers(1995, 2026)})"
    return f"{number}. {_pick(rng, LAST)}, {first}. et al. {title(rng)}. {where}."


def _pick(rng: Rng, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
