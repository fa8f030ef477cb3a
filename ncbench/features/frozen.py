"""Features of a frozen backbone: computed once for every split of a store, and kept in the cache folder.

A folder ``<cache>/features/<dataset>/<key>`` holds ``<split>.npy``, (N, D) float32, and the SHA-256 of each. The key is
made of all that they follow from: the store's fingerprint, which covers every pixel, the backbone's parameters, weights
and plugin, how images are scaled, torch and the kind of device. It is made in a folder of another name and moved into
place when it is whole; a damaged one is made anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ncbench.contracts.method import Backbone
from ncbench.contracts.parameters import Parameters
from ncbench.data.files import clear_temporaries, locked, temporary_for
from ncbench.data.loading.loader import Loader
from ncbench.data.sources.roots import cache_folder, unwritable
from ncbench.data.store.open import Store
from ncbench.discovery.registry import Plugin

SAY_SECONDS = 60.0  # between two lines of how far it is
_BATCH = 64
_DIGESTS = "digests.json"


class FrozenFeatures(Backbone):
    """What stands for a frozen backbone where its features are the inputs: (N, D) -> the same."""

    takes_vectors = True

    def __init__(self, input_shape: tuple[int, ...], params: Parameters) -> None:
        super().__init__(input_shape, params)
        (self.feature_dim,) = input_shape

    def forward(self, images: Tensor) -> Tensor:
        """Return the inputs."""
        return images


def with_features(
    store: Store,
    backbone: Backbone,
    plugin: Plugin,
    input_scaling: str,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    say: Callable[[str], None],
) -> Store:
    """Return the store with a backbone's features of its images, without augmentation, as inputs.

    Args:
        store: Of images.
        backbone: With its weights.
        plugin: Which brings it.
        input_scaling: How images are scaled.
        mean: C channel means in [0, 1].
        std: C standard deviations in [0, 1].
        device: Where to compute them.
        say: Told, in one line, what takes long.

    Raises:
        DataError: The cache folder cannot be written to.
    """
    how = [
        *(2, store.fingerprint, _digest(backbone), plugin.distribution, plugin.version),
        *(input_scaling, [*mean], [*std], torch.__version__.partition("+")[0], device.type),
        # Whether float32 is rounded to fewer digits on the way.
        *(torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32),
    ]
    key = hashlib.sha256(json.dumps(how).encode()).hexdigest()[:20]
    folder = cache_folder() / "features" / store.name / key
    found = _read(folder, store, backbone.feature_dim)
    if found is None:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.with_name(f".{key}.lock"), f"computing {folder}", say):
                found = _read(folder, store, backbone.feature_dim)  # another process may have made them meanwhile
                if found is None:
                    clear_temporaries(folder.parent)  # gigabytes each, and other versions' keys do not come again
                    number = sum(map(len, store.splits.values()))
                    again = "are damaged; computing those" if folder.exists() else "are computed once, those"
                    say(f"The features in {folder} {again} of {number} images.")
                    backbone.to(device).to(memory_format=torch.channels_last).eval()
                    loaders = {
                        name: Loader(split, device, input_scaling, "none", mean, std, channels_last=True)
                        for name, split in store.splits.items()
                    }
                    _write(folder, loaders, backbone, say)
                    found = _read(folder, store, backbone.feature_dim)
        except OSError as error:
            raise unwritable(cache_folder(), error) from error
    assert found is not None
    splits = {name: replace(split, inputs=found[name]) for name, split in store.splits.items()}
    return replace(store, splits=splits, features=key)


@torch.no_grad()
def _write(folder: Path, loaders: Mapping[str, Loader], backbone: Backbone, say: Callable[[str], None]) -> None:
    done, number = 0, sum(map(len, loaders.values()))
    started = told = time.monotonic()
    temporary = temporary_for(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        digests = {}
        for name, loader in loaders.items():
            features = np.empty((len(loader), backbone.feature_dim), np.float32)
            for images, index in loader.batches(torch.arange(len(loader)), _BATCH):
                features[index.cpu().numpy()] = backbone(images).float().cpu().numpy()
                done += len(index)
                now = time.monotonic()
                if now - told > SAY_SECONDS:
                    told, left = now, (now - started) * (number - done) / done
                    say(f"Features of {done} of {number} images are computed; about {left / 60:.0f} min are left.")
            np.save(temporary / f"{name}.npy", features)
            digests[name] = _file_digest(temporary / f"{name}.npy")
        (temporary / _DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(folder: Path, store: Store, dim: int) -> dict[str, np.ndarray] | None:
    """Return the features of each split as memory maps, or None if they are not there as they were written."""
    found = {}
    try:
        digests = json.loads((folder / _DIGESTS).read_text(encoding="utf-8"))
        for name, split in store.splits.items():
            if _file_digest(folder / f"{name}.npy") != digests[name]:
                return None
            found[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            if found[name].shape != (len(split), dim):
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(backbone: Backbone) -> str:
    """Return a hash of what a backbone is, of its parameters and of everything it has learned."""
    kind = type(backbone)
    digest = hashlib.sha256(json.dumps([kind.__module__, kind.__qualname__, backbone.params.as_dict()]).encode())
    # Buffers need not be part of the state, and what is need not be a tensor.
    for name, value in sorted({**dict(backbone.named_buffers()), **backbone.state_dict()}.items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {[*value.shape]}".encode())
            # As bytes, since numpy lacks some of torch's data types.
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()
