"""The page of datasets, from their manifests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ncbench import Dataset, DatasetCard
from ncbench.data.sources.manifest import HttpSource, HubSource, Manifest, ManualSource, SplitCounts, load_manifest
from ncbench.discovery.registry import registry

NAMED = 20  # classes; more are not listed by name, nor with a number each

_HEAD = """# Datasets

What every built-in dataset is, where it comes from and what it must contain, as its manifest in
[`datasets_manifest`](../../datasets_manifest) says. Their parameters are on the page of [parameters](parameters.md).

A dataset's folder is looked for in `--data-root`, then in `$NCBENCH_DATA`, then in the platform's cache folder.
`ncbench data list` says what is here; `ncbench data fetch NAME` downloads what can be fetched, after you asked for it
and nothing before; `ncbench data prepare NAME` decodes it once, as the first run on it would, and goes on where it was
cut off; `ncbench data verify NAME` re-reads all of it. `ncbench data synthesize NAME FOLDER` writes a twin with the
same layout and generated images.

Data whose counts or checksums are not those given here are refused. `--allow-mismatch` goes on with them: the record
says how they differ, and the leaderboard leaves it out.
"""


def datasets() -> str:
    """Return the page."""
    found = [registry().find("datasets", name) for name in registry().names("datasets")]
    cards: list[DatasetCard] = [dataset.card for dataset in found if dataset.plugin.distribution == "ncbench"]
    manifests = [load_manifest(card.manifest) for card in cards]
    lines = ["| name | images | default backbone | reported | how to get it |", "|---|---|---|---|---|"]
    for manifest in manifests:
        images = ", ".join(f"{counts.images:,} {split}" for split, counts in manifest.counts.items())
        row = (
            f"[{manifest.name}](#{manifest.name})",
            images,
            f"`{manifest.backbone}`",
            manifest.primary_metric,
            _way(manifest),
        )
        lines.append(f"| {' | '.join(row)} |")
    overview = "\n".join(lines) + "\n"
    parts = [_section(card, manifest) for card, manifest in zip(cards, manifests, strict=True)]
    return "\n".join([_HEAD, overview, *parts])


def _way(manifest: Manifest) -> str:
    if manifest.yours:
        return "it is your own"
    kinds = {source.kind for source in manifest.sources}
    if not kinds:
        return "it comes with ncbench"
    return "by hand" if kinds == {"manual"} else "`ncbench data fetch`"


def _section(card: DatasetCard, manifest: Manifest) -> str:
    kind: type[Dataset] = card.load()
    facts = {
        "licence": f"[{_cell(manifest.licence.name)}]({manifest.licence.url})",
        "citation": _cell(manifest.citation),
        "described at": f"[{manifest.homepage.removeprefix('../')}]({manifest.homepage})",
        "version": manifest.version,
        "folder": f"`{kind.folder}` below a data root" if kind.folder else "none: it is embedded",
        "classes": _names(kind, "class_names"),
        "bias attribute": _names(kind, "bias_names"),
        "default backbone": f"`{manifest.backbone}`",
        "default recipe": ", ".join(f"`{key}={value}`" for key, value in manifest.recipe.items()),
        "reported": f"`{manifest.primary_metric}`, of the epoch selected by `{manifest.selection}`",
    }
    lines = [f"## {manifest.name}\n", f"**{manifest.title}**{_summary(card, manifest)}.\n", "| | |", "|---|---|"]
    lines += [f"| {label} | {text} |" for label, text in facts.items() if text]
    if manifest.sources:
        lines += ["\nSources, in the order they are tried:\n", *_sources(manifest)]
    if manifest.counts:
        lines += ["\nWhat it must contain:\n", *_counts(manifest)]
    lines += [f"\nKnown to circulate under its name: {known.description}." for known in manifest.lookalikes]
    if manifest.notes:
        lines.append(f"\n{manifest.notes.strip()}")
    return "\n".join(lines) + "\n"


def _summary(card: DatasetCard, manifest: Manifest) -> str:
    """Return the summary as it goes on from the title, which many begin with."""
    summary = _cell(card.summary)
    rest = summary.removeprefix(manifest.title)
    return rest if rest[:1] in {":", ","} else f": {summary}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _names(kind: type[Dataset], attribute: str) -> str:
    names: object = getattr(kind, attribute, ())
    if not isinstance(names, Sequence) or not names:  # a property, where they follow from parameters or from the data
        return ""
    return _cell(", ".join(names)) if len(names) <= NAMED else str(len(names))


def _sources(manifest: Manifest) -> Iterator[str]:
    for number, source in enumerate(manifest.sources, start=1):
        if isinstance(source, HubSource):
            what = ", ".join(f"`{pattern}`" for pattern in source.patterns) or "all files"
            page = f"https://huggingface.co/datasets/{source.id}/tree/{source.revision}"
            yield f"{number}. [{source.id}]({page}) on the Hugging Face hub, {what}, placed in `{source.path}`"
        elif isinstance(source, ManualSource):
            yield f"{number}. By hand: {' '.join(source.instructions.split())}"
        else:
            yield f"{number}. Over http ({sum(file.bytes for file in source.files) / 1e6:,.1f} MB):\n"
            yield from _files(source)


def _files(source: HttpSource) -> Iterator[str]:
    for file in source.files:
        mirrors = ", ".join(f"[{url.split('/')[2]}]({url})" for url in file.urls)
        done = f"unpacked to `{file.path}/`" if file.extract else f"`{file.path}`"
        yield f"   - {done} from {mirrors}; sha256 `{file.sha256}`"
    yield ""


def _counts(manifest: Manifest) -> Iterator[str]:
    yield "| split | images | images a class, or a group (class, bias attribute) |"
    yield "|---|---|---|"
    for split, counts in manifest.counts.items():
        yield f"| {split} | {counts.images:,} | {_shares(counts)} |"


def _shares(counts: SplitCounts) -> str:
    if counts.groups is not None:
        cells = [f"({y}, {a}) {number:,}" for y, row in enumerate(counts.groups) for a, number in enumerate(row)]
        if len(cells) <= NAMED:
            return ", ".join(cells)
    if counts.classes is None:
        return ""
    if len(set(counts.classes)) == 1:
        return f"{counts.classes[0]:,} of each of {len(counts.classes)} classes"
    if len(counts.classes) <= NAMED:
        return ", ".join(f"{number:,}" for number in counts.classes)
    return f"{min(counts.classes):,} to {max(counts.classes):,} of each of {len(counts.classes)} classes"
