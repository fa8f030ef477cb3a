"""What sizes of image a convolutional backbone takes."""

from __future__ import annotations

from ncbench import ConfigurationError


def require_size(backbone: str, image_shape: tuple[int, int, int], least: int) -> None:
    """Refuse images that the backbone's strides would shrink to a single position.

    With a single position left, BatchNorm has nothing to normalise over when a batch holds one image.

    Args:
        backbone: Its name, for the message.
        image_shape: (C, H, W).
        least: The smallest height and width it takes, in pixels.

    Raises:
        ConfigurationError: The images are smaller.
    """
    _, height, width = image_shape
    if min(height, width) < least:
        raise ConfigurationError(
            f"{backbone} needs images of at least {least} x {least} pixels, and these have {height} x {width}. "
            "Use --backbone mlp or larger images."
        )
