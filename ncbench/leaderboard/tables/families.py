"""Which datasets are made of the same images, so that results on them are not independent of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ncbench.data.sources.manifest import HttpSource, HubSource, Manifest


def families(names: Iterable[str], manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Group datasets by the files they are read from.

    Two datasets belong together if their manifests share a file or a repository, as mnist and colored_mnist do, or if
    both belong together with a third.

    Args:
        names: Of datasets.
        manifests: By name, where they are known; a dataset without one is alone.

    Returns:
        Name -> the family, called by the first of its names.
    """
    found: list[tuple[set[str], set[str]]] = []  # the names of each family, and what its images come from
    for name in sorted(set(names)):
        members, sources = {name}, _sources(manifests[name]) if name in manifests else set()
        related = [family for family in found if sources & family[1]]
        for family in related:
            members |= family[0]
            sources |= family[1]
            found.remove(family)
        found.append((members, sources))
    return {name: min(members) for members, _ in found for name in members}


def _sources(manifest: Manifest) -> set[str]:
    """Return what tells where a dataset's images come from."""
    served = {file.sha256 for source in manifest.sources if isinstance(source, HttpSource) for file in source.files} | {
        source.id for source in manifest.sources if isinstance(source, HubSource)
    }
    return served | {file.sha256 for file in manifest.files}
