"""Fetching a backbone's pretrained weights, on the user's request only."""

from __future__ import annotations

from collections.abc import Callable

from ncbench.contracts.errors import DataError
from ncbench.contracts.method import WeightsFile
from ncbench.data.files import locked
from ncbench.data.sources.download import MirrorError, Progress, RemoteFile, RetryPolicy, download


def fetch_weights(
    file: WeightsFile,
    *,
    report: Callable[[str], None],
    progress: Progress | None = None,
    policy: RetryPolicy | None = None,
) -> None:
    """Bring a file of weights to its place, whole and verified, unless it is there.

    Args:
        file: Where it comes from and belongs. What is there in its stead, such as a damaged file, is replaced.
        report: Called with one line about each step.
        progress: Called as bytes arrive.
        policy: How the server is waited for.

    Raises:
        DataError: The server does not give it, or the folder cannot be written to.
    """
    remote = RemoteFile(file.path.name, (file.url,), file.sha256)
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.path.with_name(f".{file.path.name}.lock"), f"fetching {file.path.name}", report):
            if remote.is_at(file.path):
                report(f"{file.path} is here already.")
                return
            download(remote, file.path, report, progress, policy or RetryPolicy())
    except MirrorError as error:
        raise DataError(f"{file.path.name} was not fetched: {error}") from error
    except OSError as error:
        raise DataError(f"Cannot write {file.path} ({error.strerror or error}).") from error
    report(f"{file.path} is here, its sha256 verified.")
