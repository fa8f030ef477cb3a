"""The run that another one builds on, and the groups that it inferred."""

from __future__ import annotations

import hashlib
from typing import Any

from ncbench.contracts.errors import DataError
from ncbench.contracts.task import Groups
from ncbench.data.store.open import Store
from ncbench.features.inferred import read_groups
from ncbench.records.archive import RunResult
from ncbench.records.folder import MODEL_FILE, make_again


def describe_base(base: RunResult, store: Store) -> dict[str, Any]:
    """Return what the record says of the run that this one builds on.

    Raises:
        DataError: It did not complete, was of other data, or its model is not there any more.
    """
    record, path = base.record, base.folder / MODEL_FILE
    if base.status != "completed":
        raise DataError(
            f"This run builds on {record.run_id}, which {base.status}. --set base.recipe.KEY=VALUE changes its recipe."
        )
    if record.dataset.fingerprint != store.fingerprint:
        raise DataError(
            f"This run builds on {record.run_id}, which was trained on other data than there are now. "
            f"{make_again(record.run_id)}"
        )
    try:
        model = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"This run builds on {path}, which is not there. {make_again(record.run_id)}") from error
    return record.as_base(model).model_dump()


def groups_of(base: RunResult, store: Store) -> tuple[dict[str, Any], Groups]:
    """Return what the record says of the groups that another run inferred, and the groups.

    Raises:
        DataError: They are gone, or others than that run's record says.
    """
    record, inferred = base.record, base.record.inferred
    if inferred is None:
        raise DataError(f"The record of {record.run_id} says nothing of the groups. {make_again(record.run_id)}")
    images = {name: len(split) for name, split in store.splits.items()}
    groups = read_groups(base.folder, inferred.digest, images)
    return {"spec": record.method.spec, "base": record.run_id, **inferred.model_dump()}, groups
