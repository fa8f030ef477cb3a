"""Named arrays from files nobody vouches for. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import torch


def read_npz(path: Path, choose: Callable[[list[str]], Mapping[str, str]]) -> dict[str, torch.Tensor]:
    """Read arrays of a .npz file.

    Args:
        path: The file.
        choose: From the names that are there, the arrays to read: what to call each -> its name.

    Raises:
        DataError: The file or an array is damaged, holds Python objects or something other than plain numbers.
    """
    import numpy as np

    archive = guarded(path, lambda: np.load(path, allow_pickle=False))
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} is a single array, not an archive of named ones. Save it with numpy.savez.")
    with archive:
        return {
            role: as_tensor(path, name, guarded(path, partial(archive.__getitem__, name), name))
            for role, name in choose(archive.files).items()
        }


def guarded(path: Path, read: Callable[[], Any], name: str | None = None) -> Any:
    """What `read` returns. A damaged file can make a decoder raise almost anything; all of it means one thing here.

    Args:
        path: The file that is read.
        read: Reads it, or a part of it.
        name: Of the array that is read.

    Raises:
        DataError: Whatever `read` raised.
    """
    what = str(path) if name is None else f"{path}: array {name!r}"
    try:
        return read()
    except Exception as error:
        if "allow_pickle=False" in str(error):
            raise DataError(
                f"{what} holds Python objects, which ncbench never unpickles. Save plain numbers."
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{what} cannot be read: it is damaged or of another kind ({reason}).") from error


def as_tensor(path: Path, name: str, array: np.ndarray[Any, Any]) -> torch.Tensor:
    """The array as a tensor of the same numbers.

    Args:
        path: The file it is from.
        name: Its name there.
        array: Of integers, truth values or real numbers.

    Raises:
        DataError: It holds something else.
    """
    import numpy as np
    import torch

    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: array {name!r} has dtype {array.dtype}, not plain numbers.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        try:
            with np.errstate(over="raise"):
                array = array.astype(np.float64)  # torch has no long double
        except FloatingPointError:
            raise DataError(f"{path}: array {name!r} has numbers beyond float64. Save them divided by one.") from None
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
