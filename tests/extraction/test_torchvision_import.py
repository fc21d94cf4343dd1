from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zsl_lab

#: as torchvision describes its operators: an error where nobody has defined them
_DESCRIBES_OPERATORS = """
from torch import library

for name in ("nms", "qnms"):
    library.register_fake(f"torchvision::{name}", lambda dets, scores, iou_threshold: dets)
"""
#: imports it in turn without zsl_lab, with zsl_lab where the library loads, and where it does not
_IMPORTS = """
import json, sys
import torch

def imported():
    try:
        import torchvision
    except RuntimeError as error:
        return str(error)
    return torchvision.__file__

found = {"without": imported()}
import zsl_lab
load, loaded = torch.ops.load_library, []
torch.ops.load_library = lambda path: loaded.append(str(path))
found |= {"where_it_loads": imported(), "loaded": loaded}
torch.ops.load_library = load
zsl_lab.extraction.torchvision_import.install()
found |= {"where_it_does_not": imported(), "schema": str(torch.ops.torchvision.nms.default._schema)}
found["finders"] = [type(finder).__name__ for finder in sys.meta_path]
print(json.dumps(found))
"""


def run(code: str, *options: str, path: Path | None = None) -> str:
    paths = [str(path)] if path else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
    }
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision whose compiled operators are no library."""
    package = tmp_path_factory.mktemp("site") / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(_DESCRIBES_OPERATORS)
    (package / "_C.so").write_bytes(b"built for something else")
    return package


@pytest.fixture(scope="module")
def found(broken: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(run(_IMPORTS, path=broken.parent))
    return values


@pytest.mark.slow
def test_torchvision_imports_though_its_operators_do_not_load(
    found: dict[str, Any], broken: Path
) -> None:
    assert found["without"] == "operator torchvision::nms does not exist"
    assert found["where_it_does_not"] == str(broken / "__init__.py")
    assert (
        found["schema"]
        == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    )


@pytest.mark.slow
def test_operators_that_load_are_not_defined_again(found: dict[str, Any], broken: Path) -> None:
    assert found["loaded"] == [str(broken / "_C.so")]
    # this library defines nothing, and nobody did it in its place
    assert found["where_it_loads"] == "operator torchvision::nms does not exist"


@pytest.mark.slow
def test_nothing_stays_behind_once_torchvision_was_imported(found: dict[str, Any]) -> None:
    assert "_SchemasFirst" not in found["finders"]


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


def test_a_torchvision_that_is_imported_already_is_left_alone() -> None:
    code = """
import sys, types
sys.modules["torchvision"] = types.ModuleType("torchvision")
import zsl_lab
print([type(finder).__name__ for finder in sys.meta_path])
"""
    assert "_SchemasFirst" not in run(code)


def test_importing_the_package_imports_neither_torch_nor_torchvision() -> None:
    assert (
        run(
            "import sys, zsl_lab; print([name for name in ('torch', 'torchvision', 'numpy') if "
            "name in sys.modules])"
        )
        == "[]"
    )
