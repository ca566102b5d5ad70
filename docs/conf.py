"""Configuration of the documentation: ``tox -e docs``."""

import os
import re
import sys
from datetime import date
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from docutils import nodes
from sphinx import addnodes
from sphinx_gallery.sorting import ExplicitOrder

import sktip
from sktip._utils.estimators import docs_address

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# What pages import.
sys.path.insert(0, str(HERE / "guide"))

import accuracy
import api_page

# What is made from other sources: the API page from the public names, tables from accuracy.csv.
(HERE / "api.rst").write_text(api_page.text(), encoding="utf-8")
accuracy.write_wide(HERE / "generated")
accuracy.write_chart(HERE / "generated")

# The examples use the bundled model, so that a build needs no network.
os.environ["HF_HUB_OFFLINE"] = "1"

project = "sktip"
author = "The sktip developers"
copyright = f"{date.today().year}, {author}"
version = release = sktip.__version__

# The workflow that publishes the site knows its address and that of the repository.
REPOSITORY = os.environ.get("REPOSITORY", "")
# The first line of each notebook installs sktip.
NOTEBOOK = (
    f'%pip install -q "sktip[examples] @ git+{REPOSITORY}"'
    if REPOSITORY
    else '# Needs sktip with its extra "examples".'
)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    # With its files among those of the site, so that reading a formula needs no network.
    "sphinx-mathjax-offline",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxext.opengraph",
]
exclude_patterns = ["_build", "generated", "paper"]
templates_path = ["_templates"]
default_role = "py:obj"
toc_object_entries_show_parents = "hide"
# Signatures are short without annotations, and the numpydoc sections say more.
autodoc_typehints = "none"
# Defaults are the names of constants, as in the source.
autodoc_preserve_defaults = True

# -- Links to other documentation -----------------------------------------------------------

INVENTORIES = {
    "joblib": "https://joblib.readthedocs.io/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "python": "https://docs.python.org/3/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
# open_clip has no site with an inventory.
extlinks = {
    "open_clip": ("https://github.com/mlfoundations/open_clip/%s", "open_clip%.0s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}


def fetch_inventories(folder, timeout=5):
    """Return an intersphinx mapping of what can be reached, or was reached by an earlier build.

    What cannot be had is left out: a build without a network has plain names instead of links, and
    no warnings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mapping, reachable = {}, True
    for name, url in INVENTORIES.items():
        kept = folder / f"{name}.inv"
        if reachable and not kept.exists():
            try:
                with urlopen(url + "objects.inv", timeout=timeout) as answer:
                    kept.write_bytes(answer.read())
            except (URLError, TimeoutError, ConnectionError):
                reachable = False
        if kept.exists():
            mapping[name] = (url, str(kept))
    return mapping


intersphinx_mapping = fetch_inventories(HERE / "_build" / "inventories")

# Every reference must lead somewhere. Left out are other packages, whose inventories an offline
# build does not have, and what docstrings put in single backticks without it being a page: names of
# parameters, attributes and methods, and expressions.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(sklearn|numpy|matplotlib|torch|joblib|open_clip|pandas|ray|os|pathlib)(\..*)?"),
    ("py:obj", r"[a-z][A-Za-z0-9_]*"),
    (
        "py:obj",
        r"[A-Z][A-Za-z]*CV|PredefinedSplit|Pipeline|X|X_labeled|X_unlabeled|X_unknown|LeaveOneOut",
    ),
]

# -- API reference --------------------------------------------------------------------------

autosummary_generate = True
# Methods are listed by the template, with those of scikit-learn left to its own documentation.
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "all",
    "ES01",  # a summary line may say it all
    "EX01",  # not every method has an example of its own; every class and function has
    "GL01",  # docstrings start on their first line, as scikit-learn's do
    "RT02",  # what is returned has a name, as in scikit-learn
    "GL08",  # ruff finds missing docstrings
    "SA01",  # nor does every method have relatives
}
# A generator that scikit-learn's base class makes, which has a Yields section; and a tuple, of which numpydoc
# reads the docstring of its type.
numpydoc_validation_exclude = {r"FewShotSplit\.split$", r"GENERAL_TEMPLATES$"}

# -- Gallery --------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "auto_examples",
    # Every script is shown. All are run but those that download an encoder.
    "filename_pattern": r"/(?!own_photos|galaxies)\w+\.py$",
    # Programs, not examples; folders of the gallery are those with a GALLERY_HEADER.rst.
    "ignore_pattern": r"(reproduce_paper|distributed_scoring)\.py$",
    "subsection_order": ExplicitOrder(
        [f"../examples/{group}" for group in ("start", "understand", "improve", "deploy")]
    ),
    # One that is not listed comes last; one that is not there yet does no harm.
    "within_subsection_order": ExplicitOrder(
        [
            "first_classifier.py",
            "quickstart.py",
            "linear_probe.py",
            "galaxies.py",
            "own_photos.py",
            "evidence.py",
            "calibration.py",
            "choose_alpha_beta.py",
            "shots_curve_openmoji.py",
            "few_shot.py",
            "what_to_label.py",
            "what_next.py",
            "wrong_labels.py",
            "unknown.py",
            "many_photos.py",
            "save_and_load.py",
            "export_onnx.py",
            "*",
        ]
    ),
    # Wide enough to read a chart.
    "thumbnail_size": (560, 392),
    # Its table would fetch scripts; each example ends with its time.
    "write_computation_times": False,
    "min_reported_time": 0,
    "show_memory": False,
    "plot_gallery": "True",
    "default_thumb_file": str(HERE / "images" / "method.svg"),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "copyfile_regex": "",
    "doc_module": ("sktip",),
    "backreferences_dir": "_backreferences",
    "inspect_global_variables": False,
    "first_notebook_cell": NOTEBOOK,
}

# -- Figures --------------------------------------------------------------------------------

plot_html_show_formats = False
plot_html_show_source_link = False
plot_formats = [("png", 120)]

# -- Snippets of the guide, run by ``sphinx-build -b doctest`` --------------------------------

doctest_global_setup = (HERE / "snippets.py").read_text()
doctest_global_cleanup = "os.chdir(_home)\n_folder.cleanup()"
doctest_test_doctest_blocks = ""  # pytest runs those of docstrings

# -- Pages ----------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "sktip"
html_baseurl = os.environ.get("SITE") or docs_address()
html_baseurl = html_baseurl and f"{html_baseurl.rstrip('/')}/"
html_static_path = ["_static"]
html_css_files = ["sktip.css"]
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sktip"},
    "github_url": REPOSITORY,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    # The sidebar lists the groups of the gallery without buttons to unfold them, which have no names.
    "navigation_depth": 1,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "getting_started": []}

# -- Previews of links ----------------------------------------------------------------------

ogp_site_url = html_baseurl
ogp_site_name = "sktip"
ogp_image = "_static/preview.png"
ogp_image_alt = "Three labelled pictures per class, and new ones with their answers"
ogp_social_cards = {"enable": False}

# -- Pages that GitHub shows, too ---------------------------------------------------------------
# GitHub shows the sources of pages without Sphinx. So they have plain links and names, and tested code is
# ``code:: python``; the build reads roles and directives of Sphinx instead.

#: What pages write, and what the build reads.
READ_AS = (
    (r"^( *)\.\. code:: python$", r"\1.. testcode::"),
    (r"^( *)\.\. code:: text$", r"\1.. testoutput::"),
    (r"`([^`<]+) <(?:\.\./)*examples/(\w+/\w+)\.py>`__", r":doc:`\1 </auto_examples/\2>`"),
    (r"`([^`<]+) <((?:\.\./)?[\w/]+)\.rst>`__", r":doc:`\1 <\2>`"),
    (
        r"`([^`<]+) <[\w./]*\.rst#([\w-]+)>`__",
        lambda found: f":ref:`{found[1]} <{label_of(found[2])}>`",
    ),
)


def label_of(place):
    """The label of a place on a page, whose dashes docutils has made of underscores."""
    return place.replace("-", "_") if place.startswith(("guide-", "research-")) else place


#: Where notebooks open in a browser: the workflow that publishes the site puts them on a branch of this name. Colab
#: reads from GitHub.
COLAB = (
    REPOSITORY.replace("https://github.com/", "https://colab.research.google.com/github/")
    + "/blob/notebooks/"
    if REPOSITORY.startswith("https://github.com/")
    else None
)


def offer_colab(docname, text):
    """Begin an example with a link that opens its notebook, once there is a repository to take it from."""
    folder, _, example = docname.partition("auto_examples/")
    if COLAB is None or folder or "sphx-glr-download-jupyter" not in text:
        return text
    link = f"`Open in Colab <{COLAB}{example}.ipynb>`__, or "
    return text.replace(
        ":ref:`Go to the end <sphx_glr_download", f"{link}:ref:`go to the end <sphx_glr_download"
    )


def read_as(text):
    """Make plain links, names and code those of Sphinx."""
    for pattern, instead in READ_AS:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


#: The full names of public objects, by the names that pages write as code.
PUBLIC = {name.rpartition(".")[2]: f"sktip.{name}" for name in api_page.public_names()[0]}


def link_names(app, doctree):
    """Make links of the names of public objects that pages write as code."""
    linked = nodes.reference | nodes.title | addnodes.pending_xref
    for node in list(doctree.findall(nodes.literal)):
        name = node.astext()
        if name in PUBLIC and not isinstance(node.parent, linked):
            link = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=PUBLIC[name],
                refexplicit=True,
                refwarn=False,
                refdoc=app.env.docname,
            )
            node.replace_self(link)
            link += node


def keep_signatures(app):
    """Let snippets run with real defaults: autodoc writes their source into the signatures of this process."""
    if app.builder.name == "doctest":
        app.config.autodoc_preserve_defaults = False


def setup(app):
    app.connect("builder-inited", keep_signatures)
    app.connect(
        "source-read",
        lambda app, docname, source: source.insert(0, read_as(offer_colab(docname, source.pop()))),
    )
    app.connect(
        "include-read", lambda app, path, docname, source: source.insert(0, read_as(source.pop()))
    )
    app.connect("doctree-read", link_names)
