"""Who may import whom: the table of CONTRIBUTING.md, held against the source of every module."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import sktip

PACKAGE = Path(sktip.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
#: Libraries that are imported where they are needed, so that `import sktip` and its estimators
#: cost no more than scikit-learn; and the folders or modules that may import them at once.
LATE = {
    "torch": ("_maths",),
    "torchvision": (),
    "open_clip": (),
    "timm": (),
    "transformers": (),
    "matplotlib": (),
    "ray": (),
    "pandas": (),
    "skops": (),
    "onnx": (),
    "onnxruntime": (),
    "uvicorn": ("_label",),
    "starlette": ("_label",),
}
#: The one place that knows a library.
ONLY = {
    "open_clip": "_encoding",
    "timm": "_encoding",
    "transformers": "_encoding",
    "ray": "distributed",
    "onnx": "export",
    "onnxruntime": "export",
    "starlette": "_label",
    "uvicorn": "_label",
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def read_table():
    """For each module or folder of the package, those that it may import."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    table = text[text.index("| where |") :].partition("\n\n")[0].splitlines()[2:]
    allowed = {}
    for row in table:
        where, _, imports = (cell.strip() for cell in row.strip("|").split("|"))
        before = set(re.findall(r"`(\w+)`", imports))
        for room in re.findall(r"`sktip/(\w+)(?:/|\.py)`", where):
            allowed[room] = before = before | {room}
    return allowed


def room_of(module):
    return module.split(".")[0]


def imports_of(path):
    """Absolute names that a module imports, each with whether that happens at its import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = set()
    for node in ast.walk(tree):
        is_late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if is_late:
            late |= {id(child) for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            names = [node.module]
            if node.module in ("sktip", *(f"sktip.{m}" for m in MODULES)):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in late


def sktip_room(name):
    """Room of an imported name of sktip; None for others and for `sktip` itself."""
    parts = name.split(".")
    return parts[1] if parts[0] == "sktip" and len(parts) > 1 and parts[1] in ROOMS else None


ROOMS = {room_of(module) for module in MODULES}


def test_every_room_is_in_the_table():
    assert set(read_table()) == ROOMS - {"__init__"}


def test_nothing_points_back():
    """The table itself: there is an order in which each imports earlier ones only."""
    others = {room: allowed - {room} for room, allowed in read_table().items()}
    assert len(list(TopologicalSorter(others).static_order())) == len(ROOMS) - 1


def test_imports():
    allowed, refused = read_table(), []
    for module, path in MODULES.items():
        room = room_of(module)
        for name, at_once in imports_of(path):
            other, library = sktip_room(name), name.split(".")[0]
            refused += [
                f"{module} imports {name}"
                for is_refused in (
                    other is not None and room != "__init__" and other not in allowed[room],
                    room == "_maths" and library in ("sklearn", "PIL"),
                    at_once and room not in LATE.get(library, (room,)),
                    room != ONLY.get(library, room),
                )
                if is_refused
            ]
    assert not refused
