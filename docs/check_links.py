"""Check that every internal link of the built pages leads to a page, and to a place on it.

python docs/check_links.py docs/_build/html
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links of a page, and the places that links may lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.places |= {values[name] for name in ("id", "name") if name in values}
        self.links += [values[name] for name in ("href", "src") if values.get(name)]


def main(root):
    root = Path(root).resolve()
    # The theme keeps templates of its own among the static files.
    found = (path for path in root.rglob("*.html") if "_static" not in path.parts)
    pages = {path: Page(path) for path in found}
    n_links, broken = 0, []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            n_links += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            if not target.exists():
                broken.append(f"{path.relative_to(root)}: {link} is not there")
            elif place and target in pages and place not in pages[target].places:
                broken.append(f"{path.relative_to(root)}: {link} has no such place")
    print(f"{n_links:,} internal links on {len(pages)} pages, {len(broken)} broken")
    print("\n".join(broken))
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
