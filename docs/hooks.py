"""Build steps of the site: pages made from files elsewhere in the repository.

The READMEs of experiments and methods, the notebooks, CONTRIBUTING.md and CHANGELOG.md become
pages. Links between files, as they work in a checkout, become links between pages; a link to a file
without a page becomes its name. Pictures beside these READMEs are taken along.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
_PICTURE = re.compile(r"(!\[[^\]]*\]\()([^)\s]+)(?=\))")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def _pages() -> dict[str, str]:
    """The pages made from files outside ``docs``: path in the repository to path in the site."""
    pages = {name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
    for source, target in (("experiments", "experiments"), ("src/zsl_lab/methods", "methods")):
        for readme in sorted((ROOT / source).glob("*/README.md")):
            pages[readme.relative_to(ROOT).as_posix()] = f"{target}/{readme.parent.name}.md"
    return pages


PAGES = _pages()
#: the pictures beside their sources: path in the repository to path in the site
PICTURES = {
    picture.relative_to(ROOT).as_posix(): f"{page.removesuffix('.md')}/{picture.name}"
    for source, page in PAGES.items()
    if source.endswith("README.md")
    for picture in sorted((ROOT / source).parent.glob("*.png"))
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the placeholders of the navigation by the pages found."""
    found = {
        name.upper(): [page for page in PAGES.values() if page.startswith(f"{name}/")]
        for name in ("experiments", "methods")
    }
    config.nav = [
        {title: found.get(pages, pages) if isinstance(pages, str) else pages}
        for entry in config.nav or []
        for title, pages in entry.items()
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made from files outside ``docs``, and the notebooks."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for picture, made in PICTURES.items():
        files.append(File.generated(config, made, abs_src_path=str(ROOT / picture)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text = _markdown(json.loads(notebook.read_text()))
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to pages."""
    here = page.file.src_uri
    source = next((path for path, made in PAGES.items() if made == here), f"docs/{here}")

    def changed(link: re.Match[str]) -> str:
        text, (path, mark, anchor) = link[1], link[2].partition("#")
        if "://" in path or not path:
            return link[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        for candidate in (target, f"{target}/README.md"):
            made = PAGES.get(candidate, candidate.removeprefix("docs/"))
            if candidate in PAGES or files.get_file_from_path(made):
                relative = posixpath.relpath(made, posixpath.dirname(here) or ".")
                return f"[{text}]({relative}{mark}{anchor})"
        return text if text.startswith("`") else f"`{target}`"

    def moved(picture: re.Match[str]) -> str:
        made = PICTURES.get(
            posixpath.normpath(posixpath.join(posixpath.dirname(source), picture[2]))
        )
        relative = made and posixpath.relpath(made, posixpath.dirname(here) or ".")
        return f"{picture[1]}{relative or picture[2]}"

    return _PICTURE.sub(moved, _LINK.sub(changed, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out Sphinx's roles, which docstrings have before names."""
    return re.sub(r":(?:meth|class|func|mod|attr|exc|data):(?=<code>)", "", html)


def _markdown(notebook: dict[str, Any]) -> str:
    """A notebook without outputs as Markdown."""
    cells = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        cells.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join(cells) + "\n"
