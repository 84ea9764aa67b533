"""The site, built as README says: an entry for each public name, and no link that leads nowhere."""

import ast
import html.parser
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import jaxsched as js

ROOT = Path(__file__).parents[1]
COMMAND = "sphinx-build -W -c docs docs/pages build/site"
pytestmark = pytest.mark.docs


class Page(html.parser.HTMLParser):
    """The anchors and the links of a page, and the text of each signature by its anchor."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.signatures, self.opened = set(), [], {}, None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links += [given[key] for key in ("href", "src") if given.get(key)]
        if tag == "dt":
            self.opened = given.get("id")

    def handle_endtag(self, tag):
        if tag == "dt":
            self.opened = None

    def handle_data(self, data):
        if self.opened:
            self.signatures[self.opened] = self.signatures.get(self.opened, "") + data


@pytest.fixture(scope="module")
def pages():
    assert COMMAND in (ROOT / "README.md").read_text()
    command = [sys.executable, "-m", "sphinx", *COMMAND.split()[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = ROOT / "build" / "site"
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_public_name_has_an_entry_with_its_types(pages):
    signatures = {}
    for path, page in pages.items():
        if path.parent.name == "api":
            signatures |= page.signatures
    for name in set(js.__all__) - {"Schedule"}:  # which cannot be instantiated
        text = " ".join(signatures[f"jaxsched.{name}"].split())
        assert not re.search(r"\b(Field|Number|_[A-Z]\w*)\b", text), text
        (call,) = ast.parse(f"def f{re.search(r'[(].*[)]', text).group()}: pass").body
        given = [*call.args.args, *call.args.kwonlyargs]
        assert given and all(argument.annotation for argument in given), text


def test_an_entry_leads_to_its_source_and_to_torchs_page(pages):
    for name in js.__all__:
        (page,) = [page for page in pages.values() if f"jaxsched.{name}" in page.signatures]
        source = rf"\.\./_modules/jaxsched/_.*\.html#{name}"
        assert any(re.fullmatch(source, link) for link in page.links), name
        if f".{name}`, torch 2.13." in (getattr(js, name).__doc__ or ""):
            assert any(re.fullmatch(rf"https://.*torch\.optim\..*\.{name}", x) for x in page.links)


def test_no_link_of_the_site_leads_nowhere(pages):
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"(https?|data|mailto):", link):
                continue
            target, _, anchor = unquote(link).partition("#")
            target = (path.parent / target.partition("?")[0]).resolve() if target else path
            assert target.exists(), f"{path.name}: {link}"
            if anchor and target in pages:
                assert anchor in pages[target].anchors, f"{path.name}: {link}"
