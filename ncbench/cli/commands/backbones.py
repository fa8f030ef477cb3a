"""``ncbench backbones``: pretrained weights.

Nothing heavy is imported at the top: ``--help`` must stay fast.
"""

from __future__ import annotations

import click

from ncbench.cli import options
from ncbench.cli.terminal import download_progress, show, tell
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import registry


@click.group()
def backbones() -> None:
    """Fetch the weights of pretrained backbones."""


@backbones.command("fetch")
@click.argument("backbone")
@options.plugin_files
def fetch_file(backbone: str) -> None:
    """Download the weights of a BACKBONE to where runs look for them.

    A BACKBONE is named with its parameters, as in resnet50:weights=imagenet. Goes on where it was cut off, and verifies
    the checksum. No run downloads anything.
    """
    from ncbench.data.sources.weights import fetch_weights

    spec = Spec.parse(backbone)
    factory = registry().find("backbones", spec.name).load()
    params = factory.Parameters.build(spec.parameters, owner=spec.name)
    file = factory.weights_file(params)
    if file is None:
        raise ConfigurationError(
            f"{params.spec(spec.name)} has no file of weights to fetch. Name one that has, as in "
            "resnet50:weights=imagenet."
        )
    fetch_weights(file, report=tell, progress=download_progress())
    show(f"Next: ncbench run --backbone {params.spec(spec.name)}")
