from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zsl_lab

#: as torchvision describes its operators: an error where nobody has defined them
_DESCRIBES_OPERATORS = """
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets

@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold):
    return dets
"""


@pytest.fixture
def broken_torchvision(tmp_path: Path) -> Path:
    """A folder with a torchvision whose compiled operators are no library."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(_DESCRIBES_OPERATORS)
    (package / "_C.so").write_bytes(b"built for something else")
    return tmp_path


def run(code: str, *options: str, path: Path | None = None) -> str:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    done = subprocess.run([sys.executable, *options, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_imports_though_its_operators_do_not_load(broken_torchvision: Path) -> None:
    code = """
import sys
try:
    import torchvision
except RuntimeError as error:
    print(error)
import zsl_lab
import torch
import torchvision
print(torchvision.__file__)
print(torch.ops.torchvision.nms.default._schema)
print([type(finder).__name__ for finder in sys.meta_path].count("_SchemasFirst"))
"""
    without, where, schema, left = run(code, path=broken_torchvision).splitlines()
    assert without == "operator torchvision::nms does not exist"
    assert where == str(broken_torchvision / "torchvision" / "__init__.py")
    assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert left == "0"


def test_operators_that_load_are_not_defined_again(broken_torchvision: Path) -> None:
    code = """
import zsl_lab
import torch
loaded = []
torch.ops.load_library = loaded.append
try:
    import torchvision
except RuntimeError as error:
    print(error)
print(*loaded)
"""
    says, loaded = run(code, path=broken_torchvision).splitlines()
    assert says == "operator torchvision::nms does not exist"
    assert loaded == str(broken_torchvision / "torchvision" / "_C.so")


def test_nothing_happens_where_there_is_no_torchvision() -> None:
    # without site-packages there is no torch either: asking for it would be the error
    code = f"""
import sys
sys.path.insert(0, {str(Path(zsl_lab.__file__).parents[1])!r})
import zsl_lab
try:
    import torchvision
except ModuleNotFoundError as error:
    print(error)
"""
    assert run(code, "-I", "-S") == "No module named 'torchvision'"


def test_importing_the_package_imports_neither_torch_nor_torchvision() -> None:
    assert run("import sys, zsl_lab; print([name for name in ('torch', 'torchvision', 'numpy') if name in sys.modules])") == "[]"


def test_a_torchvision_that_is_imported_already_is_left_alone() -> None:
    code = """
import sys, types
sys.modules["torchvision"] = types.ModuleType("torchvision")
import zsl_lab
print([type(finder).__name__ for finder in sys.meta_path].count("_SchemasFirst"))
"""
    assert run(code) == "0"
