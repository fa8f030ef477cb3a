"""The documentation as a site. In the root of the repository:

    sphinx-build -W --keep-going -c docs . build/site

Pages are the Markdown files as they lie in the repository, the README first, so that their links hold here and there.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import ncbench

NAVIGATION = {
    "Start here": [
        "docs/first-table",
        "A first comparison, a notebook <docs/notebooks/first_comparison>",
        "Your own data, a notebook <docs/notebooks/your_own_data>",
        "docs/tutorial",
    ],
    "Guides": [
        "docs/choosing-a-method",
        "docs/your-data",
        "docs/suites",
        "docs/scale",
        "docs/groups",
        "docs/results",
        "docs/predictions",
        "docs/writing-a-method",
        "docs/writing-a-plugin",
    ],
    "Concepts": [
        "docs/concepts",
        "docs/collapse",
        "docs/geometry",
        "docs/ufm",
        "docs/leaderboard",
        "docs/findings",
        "docs/experiments",
        "docs/reproduction",
    ],
    "Reference": [
        "docs/site/api",
        "docs/reference/cli",
        "docs/reference/parameters",
        "docs/reference/methods",
        "docs/reference/datasets",
        "docs/reference/checks",
    ],
    "The project": ["leaderboard/README", "benchmarks/README", "plugins/example/README", "CHANGELOG"],
}

project = "ncbench"
version = release = ncbench.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/**", "*/README.md", "plugins/example/README.md"]
exclude_patterns = [".*", "build", "reruns", "runs", "tests"]

html_theme = "furo"
pygments_dark_style = "github-dark"  # the own one of the theme underlines modules and classes, as if they were links
html_title = f"ncbench {version}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["site"]
html_css_files = ["site.css"]

myst_heading_anchors = 4
myst_disable_syntax = ["myst_line_comment"]  # a line that begins with "% of the images" is text, here as on GitHub
smartquotes_action = "qe"  # and the two dashes of an option stay two
nb_render_markdown_format = "gfm"  # with tables
nb_execution_mode = "off"  # a test runs the notebooks; what is shown are the outputs that they were committed with

# Docstrings: types stand in the signatures, and a single backtick means code, as it does in the Markdown pages.
default_role = "literal"
autodoc_default_options = {"members": True, "exclude-members": "Parameters"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 100
napoleon_use_ivar = True
napoleon_use_rtype = False


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the README, which is read without a site as well, the site's table of contents."""
    if page == root_doc:
        for caption, pages in NAVIGATION.items():
            source[0] += f"\n```{{toctree}}\n:caption: {caption}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def unlink_folders(app: Sphinx, document: nodes.document) -> None:
    """Leave of a link to a folder of the repository, which the site has no page of, the text."""
    for link in list(document.findall(pending_xref)):
        if link["reftype"] == "myst" and (Path(app.srcdir, app.env.docname).parent / link["reftarget"]).is_dir():
            link.replace_self(link.children)


def mark_options(app: Sphinx, document: nodes.document) -> None:
    """Give code with an option in it a class, unless a word of it may be longer than a line."""
    for code in document.findall(nodes.literal):
        words = code.astext().split()
        if any(word.startswith("--") for word in words) and max(map(len, words)) <= 30:
            code["classes"].append("option")


def find_public_name(app: Sphinx, env: BuildEnvironment, link: pending_xref, text: nodes.Element) -> Any:
    """Lead a docstring's mention of a class or function to where it is documented, by its public name."""
    if link.get("refdomain") != "py":
        return None
    domain, name = env.domains.python_domain, link["reftarget"].rpartition(".")[2]
    for module in ("ncbench", "ncbench.geometry", "ncbench.collapse", "ncbench.conformance"):
        if f"{module}.{name}" in domain.objects and link["reftarget"].startswith("ncbench."):
            return domain.resolve_xref(env, link["refdoc"], app.builder, "obj", f"{module}.{name}", link, text)
    return None


def shorten_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None] | None:
    """Write a default that has no source as `...`: Sphinx cannot read a signature with a `<factory>` in it."""
    return (re.sub(r"<\w+( [^<>]*(<\w+>)?)?>", "...", signature), returned) if signature else None


def make_the_readme_the_index(app: Sphinx, exception: Exception | None) -> None:
    """Let the site's address lead to its first page."""
    if exception is None and app.builder.format == "html":
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", unlink_folders)
    app.connect("doctree-read", mark_options)
    app.connect("autodoc-process-signature", shorten_defaults)
    app.connect("missing-reference", find_public_name)
    app.connect("build-finished", make_the_readme_the_index)
