"""Imports run downwards: the floors are the table of docs/architecture.md, and nothing imports from a floor above."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def floors(document: str) -> dict[str, int]:
    """Unit (``simlm/errors.py``, ``simlm/config/``) → height of its row in the table of the house, the last row being 0."""
    table = document.split("## Where things are")[1].split("\n## ")[0]
    rows = [re.findall(r"`(simlm/[\w/.]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `simlm/")]
    return {unit: height for height, units in enumerate(reversed(rows)) for unit in units}


def modules(root: Path) -> dict[str, Path]:
    """Dotted name → file of every module of the package below ``root``."""
    files = sorted((root / "simlm").rglob("*.py"))
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(name: str, file: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """(line, module) for all that a module imports from the package, wherever in its text, only for types or by a constant name included."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        found: list[str] = []
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found = [whole if (whole := f"{base}.{alias.name}") in known else base for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            found = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        yield from ((node.lineno, module) for module in found if module in known and module != name)


def unit_of(file: Path) -> str:
    """The folder or file of the house that a module's file, relative to the root, belongs to."""
    return f"simlm/{file.parts[1]}/" if len(file.parts) > 2 else str(file)


def upward(root: Path, heights: dict[str, int]) -> list[str]:
    """A sentence for every import that does not run to a lower floor (or stay in its own folder)."""
    known, sentences = modules(root), []
    units = {name: unit_of(file.relative_to(root)) for name, file in known.items()}
    for name, file in known.items():
        for line, module in imports(name, file, known):
            own, other = units[name], units[module]
            if other != own and heights[other] >= heights[own]:
                sentences.append(f"{file.relative_to(root)}:{line} imports {module}, but {other} does not lie below {own}")
    return sentences


def circle(root: Path) -> list[str]:
    """Modules that import each other in a circle; empty if none do."""
    known = modules(root)
    try:
        TopologicalSorter({name: {module for _, module in imports(name, file, known)} for name, file in known.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.fixture(scope="module")
def house() -> dict[str, int]:
    return floors((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def test_every_folder_and_file_has_its_floor(house):
    assert {unit_of(file.relative_to(ROOT)) for file in modules(ROOT).values()} == set(house), (
        "the table 'Where things are' of docs/architecture.md must name them all, and nothing else"
    )


def test_nothing_imports_from_a_floor_above(house):
    assert upward(ROOT, house) == []


def test_nothing_imports_in_a_circle():
    assert circle(ROOT) == []


def test_the_workflow_stays_on_the_floors_without_arithmetic(house):
    known = modules(ROOT)
    texts = {file: file.read_text(encoding="utf-8") for file in (ROOT / "workflow").rglob("*") if file.suffix == ".smk" or file.name == "Snakefile"}
    named = {(file.name, module) for file, text in texts.items() for module in re.findall(r"^\s*(?:from|import) (simlm[\w.]*)", text, re.MULTILINE)}
    assert named, "the workflow imports its graph from the package"
    heavy = [module for _, module in named if house[unit_of(known[module].relative_to(ROOT))] > house["simlm/config/"]]
    # Once memory and time of a job are asked for, and where somebody looks on; not before.
    assert sorted(heavy) == ["simlm.planning.remaining", "simlm.planning.requests", "simlm.watching.terminal"]
    for file, module in (("common", "planning.requests"), ("terminal", "planning.remaining"), ("terminal", "watching.terminal")):
        assert re.search(rf"^    +from simlm.{module}", texts[ROOT / "workflow" / "rules" / f"{file}.smk"], re.MULTILINE)


TABLE = """# House
## Where things are
| floor | idea |
|---|---|
| `simlm/attic/` | above |
| `simlm/left.py`, `simlm/right.py` | side by side |
| `simlm/cellar/` | below |
## Else
| `simlm/other/` | no part of the table |
"""


@pytest.mark.parametrize(
    "line",
    [
        "from simlm.attic import box",
        "from simlm.attic.box import THING",
        "import simlm.attic.box as box",
        "from ..attic import box",
        "def late():\n    from simlm.attic.box import THING\n    return THING",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from simlm.attic.box import THING",
        "import importlib\nbox = importlib.import_module('simlm.attic.box')",
        "from simlm import left",
    ],
)
def test_an_import_from_above_is_seen(tmp_path, line):
    for file in ("attic/__init__.py", "attic/box.py", "left.py", "right.py", "cellar/__init__.py", "cellar/wine.py", "__init__.py"):
        path = tmp_path / "simlm" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("THING = 1\n")
    heights = floors(TABLE)
    assert heights == {"simlm/attic/": 2, "simlm/left.py": 1, "simlm/right.py": 1, "simlm/cellar/": 0}
    (tmp_path / "simlm" / "attic" / "box.py").write_text("from simlm.cellar.wine import THING\nfrom simlm import left\n")
    (tmp_path / "simlm" / "cellar" / "__init__.py").write_text("from simlm.cellar import wine\n")
    assert upward(tmp_path, heights) == circle(tmp_path) == []
    (tmp_path / "simlm" / "cellar" / "wine.py").write_text(line + "\n")
    assert len(upward(tmp_path, heights)) == 1
    assert upward(tmp_path, heights)[0].startswith("simlm/cellar/wine.py:")


def test_neighbours_of_one_floor_do_not_import_each_other(tmp_path):
    (tmp_path / "simlm").mkdir()
    (tmp_path / "simlm" / "left.py").write_text("from simlm import right\n")
    (tmp_path / "simlm" / "right.py").write_text("")
    assert upward(tmp_path, floors(TABLE)) == ["simlm/left.py:1 imports simlm.right, but simlm/right.py does not lie below simlm/left.py"]
    (tmp_path / "simlm" / "right.py").write_text("def late():\n    from simlm.left import THING\n")
    assert set(circle(tmp_path)) == {"simlm.left", "simlm.right"}
