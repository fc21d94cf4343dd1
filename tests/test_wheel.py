"""The wheel works outside the repository, with its own code and configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, SHORT_SGAL


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
    ]
    # built from a copy: setuptools leaves build/ beside the sources
    copy = folder / "source"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(copy)], check=True, timeout=60)
    for name in ("src", "conf", "pyproject.toml", "setup.py"):
        subprocess.run(["cp", "-r", str(REPOSITORY / name), str(copy)], check=True, timeout=60)
    subprocess.run([*command, str(copy)], check=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_whole_configuration_and_every_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (REPOSITORY / "conf").rglob("*.yaml"):
        assert f"zsl_lab/conf/{path.relative_to(REPOSITORY / 'conf')}" in names
    for path in (REPOSITORY / "src" / "zsl_lab").rglob("*.py"):
        assert f"zsl_lab/{path.relative_to(REPOSITORY / 'src' / 'zsl_lab')}" in names
    assert "zsl_lab/py.typed" in names
    assert {f"zsl_lab/report/{name}" for name in ("published.yaml", "page.css", "page.js")} <= names
    for path in (REPOSITORY / "src" / "zsl_lab" / "report" / "templates").iterdir():
        assert f"zsl_lab/report/templates/{path.name}" in names


@pytest.mark.long
@pytest.mark.slow
def test_a_run_works_from_the_unpacked_wheel_in_an_empty_folder(
    wheel: Path, tmp_path: Path
) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    # what installing a wheel of pure Python without its requirements comes to
    zipfile.ZipFile(wheel).extractall(site)
    run = """
import runpy, zsl_lab, zsl_lab.conf
print(zsl_lab.__file__, zsl_lab.conf.__file__)
runpy.run_module("zsl_lab", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", run, *SHORT_SGAL, "figures=false"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    imported = done.stdout.splitlines()[0].split()
    assert all(Path(path).is_relative_to(site) for path in imported)
    assert len(list(work.glob("outputs/sgal_digits/*/result.json"))) == 1
