"""`python -m bench.picture`: the picture of a report as a comment, which the README shows, taken by headless Chromium.

The report is the one in ``docs/sample/report.json``, which the README also shows as text. Nothing is loaded from a
network: the page is made here, with a style sheet of our own. The picture holds the digest of its page, so that a test
can see whether it is still the picture of that report.

python -m bench.picture [--report FILE] [--out FILE]

With ``--report``, the output of `lbstack preview STACK --json` becomes the sample, in the README too.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path

from markdown_it import MarkdownIt
from playwright.sync_api import Error, sync_playwright
from pydantic import TypeAdapter

from lbstack.review.markdown import markdown_of
from lbstack.review.report import FORMAT, Report
from lbstack.review.text import text_of

DOCS = Path(__file__).parents[1] / "docs"
SAMPLE = DOCS / "sample" / "report.json"
PICTURE = DOCS / "sample" / "report.png"
README = DOCS.parent / "README.md"
SHOWN = re.compile(r"(<!-- output: report -->\n```text\n).*?```\n", re.DOTALL)
WIDTH = 920  # pixels; about what a comment gets on a wide screen
LIMIT_BYTES = 200_000
KEYWORD = b"Source"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXIT_CODE_TROUBLE = 2
STYLE = """
body { margin: 16px; width: 888px; font: 14px/1.5 "Liberation Sans", Arial, sans-serif; color: #1f2328; }
article { border: 1px solid #d1d9e0; border-radius: 6px; }
header { padding: 8px 16px; background: #f6f8fa; border-bottom: 1px solid #d1d9e0; color: #59636e; }
header b { color: #1f2328; }
header i { border: 1px solid #d1d9e0; border-radius: 2em; padding: 0 7px; font-size: 12px; font-style: normal; }
section { padding: 0 16px 8px; }
h2 { font-size: 21px; padding-bottom: 5px; border-bottom: 1px solid #d1d9e0; }
h3 { font-size: 17px; margin: 20px 0 10px; }
h2 code, h3 code { font-size: 90%; }
code { font: 12px "Liberation Mono", monospace; background: #eff1f3; border-radius: 6px; padding: 2px 5px; }
pre { background: #f6f8fa; border-radius: 6px; padding: 12px 0; overflow: hidden; line-height: 1.45; }
pre code { background: none; padding: 0; display: block; }
pre span { display: block; padding: 0 14px; white-space: pre-wrap; }
.added { background: #dafbe1; color: #116329; }
.removed { background: #ffebe9; color: #82071e; }
.place { color: #8250df; }
summary { cursor: pointer; }
"""
CLASSES = {"+": "added", "-": "removed", "@": "place"}


def sample() -> Report:
    """The report that the README shows.

    Raises:
        ValueError: The file is of another format than reports are now.
    """
    found = TypeAdapter(dict[str, object]).validate_json(SAMPLE.read_bytes())
    if found.pop("format") != FORMAT:
        raise ValueError(f"{SAMPLE} is of another format; make it again: `lbstack preview STACK --json`")
    return TypeAdapter(Report).validate_python(found)


def take_over(file: Path) -> None:
    """Make a report the sample, here and in the README; how long it took is nobody's sample."""
    data = TypeAdapter(dict[str, object]).validate_json(file.read_bytes()) | {"seconds": 0.0}
    SAMPLE.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(SHOWN.sub(lambda found: f"{found[1]}{text_of(sample())}```\n", text), encoding="utf-8")


def page(markdown: str) -> str:
    """The whole page: a comment as a forge shows it."""
    body = MarkdownIt("commonmark", {"html": True, "highlight": _coloured}).render(markdown)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Report</title><style>{STYLE}</style>'
        "<article><header><b>github-actions</b> <i>bot</i> commented</header>"
        f"<section>{body}</section></article></html>"
    )


def _coloured(code: str, _language: str, _attributes: str) -> str:
    lines = code.removesuffix("\n").split("\n")
    return "".join(f'<span class="{CLASSES.get(line[:1], "same")}">{html.escape(line) or " "}</span>' for line in lines)


def digest(text: str) -> str:
    """The digest of a page, as its picture holds it."""
    return hashlib.sha256(text.encode()).hexdigest()


def take(text: str, chromium: str) -> bytes:
    """Take the picture of a page.

    Args:
        text: The page.
        chromium: The browser's program.

    Returns:
        A PNG that holds the page's digest.
    """
    with sync_playwright() as tools:
        # It shows a page of ours and nothing else; its sandbox is not to be had as root.
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--force-color-profile=srgb"])
        try:
            context = browser.new_context(viewport={"width": WIDTH, "height": 100}, offline=True)
            view = context.new_page()
            view.set_content(text)
            return marked(view.screenshot(full_page=True, animations="disabled"), digest(text))
        finally:
            browser.close()


def marked(png: bytes, text: str) -> bytes:
    """A PNG with a text chunk behind its head (PNG specification, section 11.3.3.2)."""
    head = len(SIGNATURE) + 25  # IHDR is always the first chunk and has 13 bytes
    body = KEYWORD + b"\0" + text.encode("latin-1")
    chunk = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    return png[:head] + chunk + png[head:]


def mark_of(png: bytes) -> str:
    """The text that ``marked`` wrote; empty where there is none."""
    place = len(SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        if kind == b"tEXt" and body.startswith(KEYWORD + b"\0"):
            return body[len(KEYWORD) + 1 :].decode("latin-1")
        place += 12 + length
    return ""


def main(arguments: list[str]) -> int:
    """Take the picture; 0 when it was taken, 2 when it could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.picture", description="Take the picture of the sample report."
    )
    parser.add_argument("--report", type=Path, help="a report as JSON that becomes the sample")
    parser.add_argument("--out", type=Path, default=PICTURE, help="the PNG to write")
    options = parser.parse_args(arguments)
    if options.report is not None:
        take_over(options.report)
    chromium = shutil.which("chromium")
    if chromium is None:
        print("There is no `chromium` on PATH. On Debian: apt-get install chromium", file=sys.stderr)
        return EXIT_CODE_TROUBLE
    try:
        png = take(page(markdown_of(sample())), chromium)
    except (Error, ValueError) as error:
        print(f"The picture could not be taken: {error}", file=sys.stderr)
        return EXIT_CODE_TROUBLE
    options.out.write_bytes(png)
    print(f"{options.out}: {len(png)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
