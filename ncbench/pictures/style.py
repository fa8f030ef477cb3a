"""The look that all pictures share, and writing them: the same picture is the same file."""

from __future__ import annotations

import io
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench.contracts.errors import ConfigurationError, NcbenchError, lacking
from ncbench.data.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart, and darker ones where those are not enough.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#999999", "#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733"),
)
_STYLE: Any = {
    "svg.hashsalt": "ncbench",  # identifiers in an SVG follow from its content
    "svg.fonttype": "none",  # text stays text, which can be searched and edited
    "pdf.fonttype": 42,  # likewise; publishers refuse type 3
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def shared_style() -> AbstractContextManager[None]:
    """Return the context in which figures are made and saved."""
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def plain_text(text: str) -> str:
    """Return a text from elsewhere so that it is drawn as it is, and no dollar sign in it starts a formula."""
    return text.replace("$", r"\$")


def title(text: str, letters: int = 100) -> str:
    """Return a text from elsewhere as the first lines of a picture's title, so many letters wide."""
    return plain_text(textwrap.fill(text, letters))


def save_figure(figure: Figure, path: Path, option: str) -> Path:
    """Write a figure in the format that the ending of `path` names, ``.png``, ``.svg`` or ``.pdf``.

    Args:
        figure: What was drawn.
        path: The file; its folder is created if needed.
        option: The command-line option that names the folder, for the message.

    Returns:
        The path.

    Raises:
        ConfigurationError: The folder cannot be written.
        NcbenchError: The disk is full, or the machine lacks something else.
    """
    buffer = io.BytesIO()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a date in it the file of the same content is the same.
        dates: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        metadata = dates.get(path.suffix)
        figure.savefig(buffer, format=path.suffix[1:], dpi=140, metadata=metadata)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        if lack := lacking(error):
            raise NcbenchError(lack) from error
        message = f"{path.parent} cannot be written ({error.strerror}). Choose another {option}."
        raise ConfigurationError(message) from error
    return path
