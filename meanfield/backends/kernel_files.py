"""Kernel files: ordinary Python files from which the text of a kernel is made, for `compiler.load`.

A kernel file imports from bound.py what differs from kernel to kernel: T, the formulas, the number
D of inputs. Its text is the file itself, line for line, without that import. Where there are
constants, they and the loops over each(…) are written out (unroll.py). What it imports of other
kernel files is put at its end, so that one text has all that is compiled into a kernel, and of
other files of this package the text names the sha256: no edit leaves a stale kernel in the cache.
In one text a name means one function, so files that are put together share none.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from . import unroll

WORDS = ("meanfield.backends.bound", "meanfield.backends.unroll")  # they mean nothing to a compiler
# What texts are made by, read where it is imported: an edit from then on changes files alone.
MAKERS = Path(__file__).read_bytes() + Path(unroll.__file__).read_bytes()


@functools.cache
def text(module: str, **constants: Any) -> str:
    """The text of the kernel file with this dotted name, for these constants."""
    _functions(module)
    found = read(module).decode()
    tree = ast.parse(found, module)
    notes = [f"Made from {module} by meanfield/backends/kernel_files.py."]
    more = ""
    for node in tree.body[:]:
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module in WORDS or is_kernel_file(node.module):
            found = _without(found, node)
            tree.body.remove(node)
        elif node.module.startswith("meanfield."):
            notes.append(f"{node.module} {digest(node.module)}")
        if is_kernel_file(node.module):
            more += text(node.module, **constants)

    if constants:
        found = ast.unparse(unroll.write_out(tree, constants)) + "\n"
    return found + "".join(f"# {note}\n" for note in notes) + more


@functools.cache
def _functions(module: str) -> dict[str, str]:
    """The file of each function in the text of this one."""
    files: dict[str, str] = {}
    for node in ast.parse(read(module), module).body:
        found: dict[str, str] = {}
        if isinstance(node, ast.FunctionDef):
            found = {node.name: module}
        elif isinstance(node, ast.ImportFrom) and node.module and is_kernel_file(node.module):
            found = _functions(node.module)
        for name, file in found.items():
            if files.setdefault(name, file) != file:
                raise ValueError(
                    f"{files[name]} and {file} each define a function {name}, and both are in the "
                    f"text of {module}, where only one would be called; give one of them another name."
                )
    return files


def sources(module: str) -> str:
    """sha256 of all that `text` makes its text of, for any constants: a tenth of the time that it takes."""
    own = read(module)
    found = hashlib.sha256(own + MAKERS + sys.version.encode())  # ast.unparse is Python's
    used = dict.fromkeys(re.findall(rb"^from (meanfield\.[\w.]+) import", own, re.MULTILINE))
    for name in map(bytes.decode, used):
        found.update((sources(name) if is_kernel_file(name) else digest(name)).encode())
    return found.hexdigest()


def is_kernel_file(module: str) -> bool:
    """Whether it lies in a folder `kernels`."""
    return ".kernels." in module


@functools.cache
def path(module: str) -> Path:
    """The file of a module, which is not imported."""
    found = importlib.util.find_spec(module)
    assert found is not None and found.origin is not None
    return Path(found.origin)


@functools.cache
def read(module: str) -> bytes:
    """Its file, read once: a text, and what it is kept by, are made of the same bytes, whatever is edited
    meanwhile.
    """
    return path(module).read_bytes()


def digest(module: str) -> str:
    """sha256 of its file."""
    return hashlib.sha256(read(module)).hexdigest()


def _without(text: str, node: ast.stmt) -> str:
    """The statement as a comment: the lines after it keep their numbers."""
    lines = text.splitlines(keepends=True)
    for number in range(node.lineno - 1, node.end_lineno or node.lineno):
        lines[number] = "# " + lines[number]
    return "".join(lines)
