"""The site: `sphinx-build -W -c docs docs/pages build/site`. Nothing is fetched."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import jaxsched

os.environ["MATPLOTLIBRC"] = str(Path(__file__).parent)  # of the kernels that run the pages

project = "jaxsched"
author = "The jaxsched authors"
release = version = jaxsched.__version__
copyright = "The jaxsched authors, Apache-2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "api_entries",
]
nitpicky = True  # a type or a name in a signature that leads nowhere is a warning, so an error

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
toc_object_entries = False
python_maximum_signature_line_length = 80

_sites = {
    "jax": "https://docs.jax.dev/en/latest/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "python": "https://docs.python.org/3/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
intersphinx_mapping = {
    name: (site, str(Path(__file__).parent / "inventories" / f"{name}.txt"))
    for name, site in _sites.items()
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"jaxsched {release}"
html_favicon = "static/favicon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
