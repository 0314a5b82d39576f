"""Loops over a few inputs or outputs, written out: a loop at run time would run at half the speed.

A kernel file marks them, and gives a name to what has one value for each turn:

    w = [theta[k, 1 + j] for j in each(D)]                     w_0 = theta[k, 1]
                                                               w_1 = theta[k, 2]
    z = total(b, *(w[j] * x[tile, j, i] for j in each(D)))     z = b + w_0 * x[tile, 0, i] + w_1 * x[tile, 1, i]
    for j in each(D):                                          out[k, 1] = w_0 * z
        out[k, 1 + j] = w[j] * z                               out[k, 2] = w_1 * z

A parameter `stage: each(3)` is written out as three. Where the constant LOOPS is true, loops are
left to run as such. In plain Python `each` is range and `total` adds from left to right, so the
same file runs without a compiler: plain.py.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def each(*bounds: Any) -> Iterable[Any]:
    """range(*bounds), or the items of one tuple: a loop over it is written out."""
    return bounds[0] if isinstance(bounds[0], tuple) else range(*bounds)


def total(*terms: Any) -> Any:
    """Σ terms from left to right; written out it is a chain of +."""
    return functools.reduce(operator.add, terms)


def in_pairs(*terms: Any) -> Any:
    """Σ of 2^j terms by a tree: (a + b) + (c + d)."""
    while len(terms) > 1:
        terms = tuple(a + b for a, b in zip(terms[::2], terms[1::2], strict=True))
    return terms[0]


def write_out(tree: ast.Module, constants: dict[str, Any]) -> ast.Module:
    """The module with its loops over each(…) written out, and numbers in the place of `constants`."""
    return ast.fix_missing_locations(_WriteOut(constants).visit(_copied(tree)))


class _WriteOut(ast.NodeTransformer):
    """known: names that have a value here, by which their uses are replaced; families: names of
    lists with one name an item.
    """

    def __init__(self, constants: dict[str, Any]) -> None:
        self.known = dict(constants)
        self.families: set[str] = set()

    @contextmanager
    def knowing(self, name: str, value: Any) -> Iterator[None]:
        outer = self.known
        self.known = {**outer, name: value}
        yield
        self.known = outer

    def turns(self, iterable: ast.expr) -> list[Any] | None:
        """The values that a loop over each(…) takes, or None for another loop."""
        if not (isinstance(iterable, ast.Call) and ast.unparse(iterable.func) == "each"):
            return None
        bounds = [ast.literal_eval(self.visit(_copied(bound))) for bound in iterable.args]
        return list(each(*bounds))

    def items(
        self, made: ast.ListComp | ast.GeneratorExp
    ) -> list[tuple[Any, str, ast.expr]] | None:
        """(value, name, element) of each turn of `element for name in each(…)`."""
        loop = made.generators[0]
        values = self.turns(loop.iter)
        if values is None:
            return None
        assert isinstance(loop.target, ast.Name) and len(made.generators) == 1 and not loop.ifs
        return [(value, loop.target.id, _copied(made.elt)) for value in values]

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements one after the other: one may become several, or none."""
        made: list[ast.stmt] = []
        for statement in statements:
            found = self.visit(statement)
            made += found if isinstance(found, list) else [found]
        return made

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.families = set()
        parameters: list[ast.arg] = []
        for parameter in node.args.args:
            turns = self.turns(parameter.annotation) if parameter.annotation else None
            if turns is None:
                parameters.append(parameter)
                continue
            self.families.add(parameter.arg)
            parameters += [ast.arg(f"{parameter.arg}_{value}") for value in turns]
        node.args.args = parameters
        node.body = self.body(node.body)
        return node

    def visit_For(self, node: ast.For) -> ast.stmt | list[ast.stmt]:
        values = self.turns(node.iter)
        if values is None or self.known.get("LOOPS"):
            self.generic_visit(node)
            return node
        assert isinstance(node.target, ast.Name)
        made: list[ast.stmt] = []
        for value in values:
            with self.knowing(node.target.id, value):
                made += self.body(_copied(node.body))
        return made

    def visit_If(self, node: ast.If) -> ast.stmt | list[ast.stmt]:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.body(node.body if test.value else node.orelse)
        node.test = test
        node.body = self.body(node.body)
        node.orelse = self.body(node.orelse)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.visit(node.body if test.value else node.orelse)
        return ast.IfExp(test, self.visit(node.body), self.visit(node.orelse))

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | list[ast.stmt]:
        target = node.targets[0]
        if isinstance(node.value, ast.ListComp) and isinstance(target, ast.Name):
            if (items := self.items(node.value)) is not None:
                self.families.add(target.id)
                made: list[ast.stmt] = []
                for value, name, element in items:
                    one = ast.Name(f"{target.id}_{value}", ast.Store())
                    with self.knowing(name, value):
                        made += self.body([ast.Assign([one], element)])
                return made
        self.generic_visit(node)
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.known:
            return ast.Constant(self.known[node.id])
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        family, index = node.value, node.slice
        if isinstance(family, ast.Name) and family.id in self.families:
            assert isinstance(index, ast.Constant), f"{ast.unparse(node)}: of which turn?"
            return ast.Name(f"{family.id}_{index.value!r}", node.ctx)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        arguments: list[ast.expr] = []
        for argument in node.args:
            if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.GeneratorExp):
                if (items := self.items(argument.value)) is not None:
                    for value, name, element in items:
                        with self.knowing(name, value):
                            arguments.append(self.visit(element))
                    continue
            arguments.append(self.visit(argument))
        node.args = arguments
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        node.func = self.visit(node.func)
        if isinstance(node.func, ast.Name) and node.func.id == "each":  # of a loop that stays one
            node.func.id = "range"
        if isinstance(node.func, ast.Name) and node.func.id in ("total", "in_pairs"):
            add = total if node.func.id == "total" else in_pairs
            return add(*map(_Sum, arguments)).node
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return _folded(node, node.left, node.right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return _folded(node, node.operand)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        return _folded(node, node.left, *node.comparators)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        """`A and b`: whatever is known is left out."""
        self.generic_visit(node)
        ends = isinstance(node.op, ast.Or)  # the value that decides
        rest = [part for part in node.values if not isinstance(part, ast.Constant)]
        if any(isinstance(part, ast.Constant) and bool(part.value) == ends for part in node.values):
            return ast.Constant(ends)
        if len(rest) < 2:
            return rest[0] if rest else ast.Constant(not ends)
        node.values = rest
        return node


def _copied(node: Any) -> Any:
    """What copy.deepcopy gives of a tree, in a tenth of its time."""
    if isinstance(node, list):
        return [_copied(part) for part in node]
    if not isinstance(node, ast.AST):
        return node
    made = ast.AST.__new__(type(node))  # type(node)() warns of the fields that it is not given
    for name, part in vars(node).items():
        vars(made)[name] = _copied(part)
    return made


class _Sum:
    """A term of which `total` and `in_pairs` make the expression of their sum."""

    def __init__(self, node: ast.expr) -> None:
        self.node = node

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(ast.BinOp(self.node, ast.Add(), other.node))


def _folded(node: ast.expr, *operands: ast.expr) -> ast.expr:
    """The value of an operation on whole numbers that are all known; else the operation."""
    if all(isinstance(part, ast.Constant) and isinstance(part.value, int) for part in operands):
        expression = ast.Expression(_copied(node))
        return ast.Constant(eval(compile(ast.fix_missing_locations(expression), "", "eval")))
    return node
