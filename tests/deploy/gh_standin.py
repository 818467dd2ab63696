"""A stand-in for GitHub's `gh api`: comments and issues of one repository, kept in the file that $GH_STORE names.

It answers as GitHub does where `.ci/publish` relies on it: lists come in pages, the list of issues has the pull
requests in it, filters are run by the real `jq`, and what is not there is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOGIN = "github-actions[bot]"  # whom the token of a workflow belongs to
PAGE = 2  # entries, so that a few make several pages
LIST_COMMENTS = re.compile(r"repos/[^/]+/[^/]+/issues/(\d+)/comments")
ONE_COMMENT = re.compile(r"repos/[^/]+/[^/]+/issues/comments/(\d+)")
LIST_ISSUES = re.compile(r"repos/[^/]+/[^/]+/issues")
ONE_ISSUE = re.compile(r"repos/[^/]+/[^/]+/issues/(\d+)")

Entry = dict[str, Any]


def arguments() -> argparse.Namespace:
    """What `gh api` was called with; an option that it does not know here is an error."""
    parser = argparse.ArgumentParser(prog="gh", allow_abbrev=False)
    parser.add_argument("command", choices=["api"])
    parser.add_argument("path")
    parser.add_argument("--method", default="GET", choices=["GET", "POST", "PATCH"])
    parser.add_argument("--jq")
    parser.add_argument("--paginate", action="store_true")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--field", action="append", default=[])
    parser.add_argument("--raw-field", action="append", default=[])
    return parser.parse_args()


def fields_of(options: argparse.Namespace) -> Entry:
    """The body of a request."""
    found = dict(field.split("=", 1) for field in options.raw_field)
    for field in options.field:
        key, value = field.split("=", 1)
        found[key] = Path(value[1:]).read_text() if value.startswith("@") else value
    return found


def listed(store: dict[str, list[Entry]], path: str) -> list[Entry]:
    """What a list has, as far as its query asks for it."""
    parts = urlsplit(path)
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    comments = LIST_COMMENTS.fullmatch(parts.path)
    if comments:
        return [entry for entry in store["comments"] if entry["issue"] == int(comments[1])]
    assert LIST_ISSUES.fullmatch(parts.path), path
    return [
        entry
        for entry in store["issues"]
        if entry["state"] == query.get("state", "open")
        and entry["user"]["login"] == query.get("creator", entry["user"]["login"])
    ]


def shown(entries: list[Entry], options: argparse.Namespace) -> None:
    """Print a list page by page, through the filter where there is one."""
    pages = [entries[start : start + PAGE] for start in range(0, len(entries), PAGE)] or [[]]
    for page in pages if options.paginate else pages[:1]:
        text = json.dumps(page)
        if options.jq:
            text = subprocess.run(
                ["jq", "-r", options.jq], input=text, capture_output=True, text=True, check=True
            ).stdout
        sys.stdout.write(text)


def main() -> int:
    """Answer one call."""
    options = arguments()
    assert os.environ["GH_TOKEN"]
    file = Path(os.environ["GH_STORE"])
    store: dict[str, list[Entry]] = json.loads(file.read_text())
    path = urlsplit(options.path).path
    if options.method == "GET":
        shown(listed(store, options.path), options)
        return 0
    fields = fields_of(options)
    new = {"user": {"login": LOGIN, "type": "Bot"}} | fields
    comments, comment, issue = (pattern.fullmatch(path) for pattern in (LIST_COMMENTS, ONE_COMMENT, ONE_ISSUE))
    identity = 1 + max((entry["id"] for entries in store.values() for entry in entries), default=0)
    if options.method == "POST" and comments:
        store["comments"].append(new | {"id": identity, "issue": int(comments[1])})
    elif options.method == "POST":
        assert LIST_ISSUES.fullmatch(path), path
        store["issues"].append(new | {"id": identity, "number": identity + 100, "state": "open"})
    else:
        kind, key, number = ("comments", "id", comment) if comment else ("issues", "number", issue)
        assert number, path
        (entry,) = [entry for entry in store[kind] if entry[key] == int(number[1])]
        entry.update(fields)
    file.write_text(json.dumps(store))
    return 0


if __name__ == "__main__":
    sys.exit(main())
