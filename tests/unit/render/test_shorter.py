"""A guest program on a node: without comments and docstrings, and otherwise the same program."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from pathlib import Path

import pytest

from lbstack.render.files import GUEST_PROGRAMS
from lbstack.render.paths import PROGRAMS
from lbstack.render.shorter import shorter
from tests.goldens.cases import rendered

NAMES = sorted(Path(program).name for program in PROGRAMS)
PYTHON = [name for name in NAMES if "python" in (GUEST_PROGRAMS / name).read_text().splitlines()[0]]
BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FORM = '''#!/usr/bin/python3
"""What it does. # no comment

And how.
"""

# A remark.
A = "a  # b"  # of "this"
B = """
# a line of text

"""


class C(Exception):
    """Only a docstring."""


def f(a: str) -> str:  # noqa: X1
    """Over
    two lines."""

    def g() -> None:
        """Nothing."""

    return a + '  # c"'


def h() -> None:
    """Nothing either."""
'''
SHORT = '''#!/usr/bin/python3
"""What it does. # no comment

And how.
"""
A = "a  # b"
B = """
# a line of text

"""
class C(Exception):
 pass
def f(a: str) -> str:
 def g() -> None:
  pass
 return a + '  # c"'
def h() -> None:
 pass
'''


def source(name: str) -> str:
    return (GUEST_PROGRAMS / name).read_text(encoding="ascii")


def tree_of(text: str) -> str:
    """What a program compiles to, without the docstrings of its blocks; an empty block is ``pass``."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, BLOCKS):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            node.body = node.body or [ast.Pass()]
    return ast.dump(tree)


@pytest.mark.parametrize("name", PYTHON)
def test_it_compiles_to_the_same_apart_from_docstrings(name: str) -> None:
    short = shorter(source(name))
    assert tree_of(short) == tree_of(source(name))
    assert ast.get_docstring(ast.parse(short)) == ast.get_docstring(ast.parse(source(name)))


@pytest.mark.parametrize("name", PYTHON)
def test_no_comment_docstring_or_empty_line_is_left_outside_of_texts(name: str) -> None:
    tree = ast.parse(shorter(source(name)))
    assert not [node.name for node in ast.walk(tree) if isinstance(node, BLOCKS) and ast.get_docstring(node)]
    tokens = list(tokenize.generate_tokens(io.StringIO(shorter(source(name))).readline))
    assert [token.start[0] for token in tokens if token.type == tokenize.COMMENT] == [1]
    levels = [token.string for token in tokens if token.type == tokenize.INDENT]
    assert {level.strip(" ") for level in levels} == {""}
    assert min(map(len, levels)) == 1


def test_texts_keep_what_looks_like_a_comment_and_empty_blocks_stay_blocks() -> None:
    assert shorter(FORM) == SHORT
    assert tree_of(SHORT) == tree_of(FORM)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(PYTHON)))
def test_a_shell_program_loses_whole_lines_alone_and_can_still_be_read(name: str) -> None:
    lines = source(name).splitlines()
    short = shorter(source(name))
    assert short.splitlines() == [lines[0], *(line for line in lines[1:] if line.strip() and line.strip()[0] != "#")]
    assert subprocess.run(["sh", "-n"], input=short, text=True, check=False).returncode == 0 or "bash" in lines[0]


def test_every_rendered_program_is_the_short_one() -> None:
    for files in rendered("post-5.0").nodes.values():
        for program in PROGRAMS:
            assert files[program].content == shorter(source(Path(program).name))
