"""What a dataset's declarations rule out, so that it can be refused before the dataset is decoded."""

from __future__ import annotations

from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, NcbenchError
from ncbench.contracts.method import refuse_missing_labels
from ncbench.training.configuration import Configuration
from ncbench.training.selection import find_criterion


def refuse_unfit(configuration: Configuration, dataset: Dataset) -> None:
    """Refuse a method or a criterion that needs labels which the dataset does not declare, or an unfit backbone.

    What passes here may still be refused once the data are read.

    Raises:
        ConfigurationError: Labels are missing, or the images are not for the backbone; the message says what is.
        DataError: A file that the backbone needs is missing.
    """
    selection, known = configuration.recipe.selection, bool(dataset.bias_names)
    if find_criterion(selection).needs_bias and not known:
        raise ConfigurationError(
            f"recipe.selection={selection} needs a validation split with bias labels, which "
            f"{configuration.dataset.spec} does not have. recipe.selection=last needs none."
        )
    refuse_missing_labels(
        configuration.method.factory,
        configuration.method.name,
        configuration.supervision,
        train=known,
        val=known,
        hierarchy=dataset.hierarchy is not None,
    )
    # The standard scaling needs a mean for each channel, which the manifest gives.
    if configuration.recipe.input_scaling == "standard" and dataset.image_size is not None:
        height, width = dataset.image_size
        try:
            configuration.make_backbone((len(configuration.manifest.channel_mean), height, width))()
        except NcbenchError:
            raise
        except Exception:
            return  # a fault in a plugin is explained by the record of the run that hits it
