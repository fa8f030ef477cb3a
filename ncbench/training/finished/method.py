"""The method of a run: made, written into its folder, and filled again with what it had learned."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch

from ncbench.contracts.errors import DataError, described
from ncbench.contracts.method import Method
from ncbench.contracts.task import Groups
from ncbench.data.files import write_atomically
from ncbench.data.store.open import Store
from ncbench.records.folder import MODEL_FILE, make_again
from ncbench.training.configuration import Configuration
from ncbench.training.devices.ranks import ALONE, Ranks
from ncbench.training.devices.split import splitting
from ncbench.training.loop import make_method
from ncbench.training.splits import task_of


def make_configured(
    configuration: Configuration,
    store: Store,
    device: torch.device,
    groups: Groups | None = None,
    ranks: Ranks = ALONE,
) -> Method:
    """Return a run's method, newly made; for inferred groups, if it trains on any; its backbones shared by `ranks`."""
    task, chosen = task_of(store, configuration.seed, configuration.supervision, groups), configuration.method
    make_backbone = configuration.make_backbone(task.input_shape, of_features=store.features is not None)
    make_backbone = splitting(make_backbone, ranks)
    return make_method(chosen.factory, chosen.name, chosen.params, task, make_backbone).to(device)


def save_model(method: Method, folder: Path) -> None:
    """Write what a method has learned into its run's folder."""
    buffer = io.BytesIO()
    torch.save(method.state_dict(), buffer)
    write_atomically(folder / MODEL_FILE, buffer.getvalue())


def load_trained(
    configuration: Configuration,
    store: Store,
    folder: Path,
    device: torch.device,
    groups: Groups | None = None,
    ranks: Ranks = ALONE,
) -> Method:
    """Return the method of a finished run as it was left, in evaluation mode.

    Args:
        configuration: Of the run.
        store: The data it was trained on.
        folder: The run's.
        device: Where the method is wanted.
        groups: The inferred groups that it was trained on, if there are any.
        ranks: The processes that share the work of its backbones.

    Raises:
        DataError: The model is not there, or not what the code of today can read.
    """
    path = folder / MODEL_FILE
    method = make_configured(configuration, store, device, groups, ranks)
    try:
        method.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read ({described(error):.200}). {make_again(configuration.run_id)}"
        ) from error
    return method.eval()
