"""A run's folder: what lies in it, and what an earlier attempt left there."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from ncbench.contracts.errors import FULL, ConfigurationError, DataError, NcbenchError, lacking
from ncbench.records.archive import RESULT_FILE, RunResult, load_result
from ncbench.records.record import Status

FINISHED: frozenset[Status] = frozenset({"completed", "diverged"})
"""What is not run again: divergence is a result, and the same seed would diverge again."""
LOG_FILE = "log.jsonl"
MODEL_FILE = "model.pt"
SNAPSHOT_FILE = "geometry.npz"
PREDICTIONS_FILE = "predictions.parquet"
GROUPS_FILE = "groups.npz"
CHECKPOINTS = "checkpoints"
LOCK_FILE = ".lock"
_PICTURES = ("curves", "collapse", "grams", "frame", "errors")  # drawn as .png and .svg, the last as .html too

NOT_WRITABLE = {*FULL, errno.EROFS, errno.EACCES, errno.EPERM}


def writable_folder(folder: Path) -> Path:
    """Return a folder in which a file can be made; the folder is made too where it is missing.

    Raises:
        ConfigurationError: It cannot be written.
        NcbenchError: The disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # without a name, where the system can: a kill leaves nothing
    except FileNotFoundError as error:  # of a file system in which nothing can be made, such as /proc
        raise ConfigurationError(f"{folder} cannot be made. Choose another --output.") from error
    except OSError as error:
        raise explain_write_error(OSError(error.errno, error.strerror, str(folder)), folder) from error
    return folder


def explain_write_error(error: OSError, folder: Path) -> NcbenchError:
    """Return what to say of a file below `folder` that could not be written."""
    where = error.filename or folder
    if error.errno in FULL:
        return NcbenchError(
            f"There is no space left for {where}. Free some and give the same command again, ncbench run with --resume."
        )
    if lack := lacking(error):
        return NcbenchError(lack)
    if error.errno == errno.ENOENT and not folder.exists():
        return NcbenchError(f"{folder} is gone: it was removed while the run was under way, and nothing of it is kept.")
    return ConfigurationError(f"{where} cannot be written ({error.strerror or error}). Choose another --output.")


def finished(folder: Path, resume: bool) -> RunResult | None:
    """Return the finished record that is already there, or None where there is none and a new attempt may begin.

    What the process that finished it was killed before it could remove, its checkpoints, is removed.

    Raises:
        ConfigurationError: The run was cut off before, and the user has not said how to go on.
        DataError: There is a record, and it is damaged.
    """
    status = None
    if (folder / RESULT_FILE).exists():
        try:
            result = load_result(folder)
        except DataError as error:
            raise DataError(
                f"{error} --force discards what is there of this run and starts it anew; where a run builds on it, "
                f"delete {folder}."
            ) from error
        if result.status in FINISHED:
            remove_checkpoints(folder)
            return result
        status = result.status
    if resume:
        return None
    if status != "failed" and (status == "interrupted" or any((folder / CHECKPOINTS).glob("epoch-*.pt"))):
        raise ConfigurationError(
            f"The run in {folder} was cut off before its end. Give --resume to go on with it, or --force to start anew."
        )
    return None


def way_to_start_anew(folder: Path) -> str:
    """Return the end of a sentence on a run that cannot be gone on with, which another may have begun as its base."""
    return f"start the run anew: give --force or, where another run builds on it, delete {folder}."


def make_again(run_id: str) -> str:
    """Return the next step where what a run left cannot be used."""
    return f"Delete the folder of {run_id}, and the same command makes that run again."


def discard_earlier_attempt(folder: Path, *, checkpoints: bool, everything: bool) -> None:
    """Remove what a new attempt must not find, once nothing can refuse it any more before it begins.

    Args:
        folder: The run's.
        checkpoints: Whether the attempt starts from the beginning: a later one must not find an older one's.
        everything: Whether the record, the log, the model and the pictures go too.
    """
    if everything:
        pictures = [f"{name}{suffix}" for name in _PICTURES for suffix in (".png", ".svg", ".html")]
        for name in (RESULT_FILE, LOG_FILE, MODEL_FILE, SNAPSHOT_FILE, PREDICTIONS_FILE, GROUPS_FILE, *pictures):
            (folder / name).unlink(missing_ok=True)
    if checkpoints:
        remove_checkpoints(folder)


def remove_checkpoints(folder: Path) -> None:
    """Remove a run's checkpoints, if there are any."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def remove_if_nothing_happened(folder: Path) -> None:
    """Take back a run's folder that holds no more than the lock and the log."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK_FILE, LOG_FILE}:
        shutil.rmtree(folder, ignore_errors=True)
