"""Who may import whom: one direction, and libraries where they are needed."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import sktip

PACKAGE = Path(sktip.__file__).parent
METHODS = "methods"
#: From the ground up: a module or folder imports those of earlier lines, and its own. What is not listed is a
#: classifier, one of the `METHODS`.
LAYERS = (
    ("exceptions",),
    ("_maths", "_docs"),
    ("_utils",),
    ("_images", "_split_encoder", "prompts"),
    ("_encoding",),
    ("_encoder", "datasets"),
    ("_explanation",),
    ("_input",),
    ("_base",),
    (METHODS,),
    ("base", "_predict_images", "_rank_images"),
    ("model_selection",),
    ("_meta",),
    ("_reject_unknown", "_back_off"),
    ("utils", "inspection", "export", "distributed"),
    ("_label",),
    ("_cli", "__main__"),
)
LAYER_OF = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
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
SOURCES = {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(source):
    """Names that a module imports, from `import a` and `from a import b`, which may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_go_in_one_direction():
    rooms = {room_of(path) for path in SOURCES}
    back = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path, source in SOURCES.items()
        if (room := room_of(path)) != "__init__"
        for name in imported(source)
        if name.startswith("sktip.")
        and (other := name.split(".")[1]) in rooms - {room}
        and LAYER_OF.get(other, LAYER_OF[METHODS]) > LAYER_OF.get(room, LAYER_OF[METHODS])
    ]
    assert not back


def test_a_library_is_known_in_one_place():
    known = {
        (library, room_of(path))
        for path, source in SOURCES.items()
        for name in imported(source)
        if (library := name.split(".")[0]) in ONLY
    }
    assert known == set(ONLY.items())
    maths = " ".join(source for path, source in SOURCES.items() if room_of(path) == "_maths")
    assert not re.search(r"^\s*(import|from) (sklearn|PIL)\b", maths, re.MULTILINE)


def test_import_sktip_is_quick():
    """All estimators cost no more than scikit-learn; torch and others are imported by what needs them."""
    code = "import sys, sktip; [getattr(sktip, name) for name in dir(sktip)]; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    late = {*ONLY, "torch", "torchvision", "matplotlib", "skops"}
    assert not late & set(modules)
