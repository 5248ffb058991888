"""What is built for others holds everything: source archive, then a wheel made from that archive."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["actors", "protocol", "sdk", "storage", "transport", "worker"]
SHIPPED = {".py", ".sql", ".typed"}


def build(kind: str, tree: Path, into: Path) -> Path:
    """Run setuptools' own build backend in a process, as pip does, without fetching anything."""
    hook = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", hook, str(into)], cwd=tree, capture_output=True, check=True)
    (built,) = into.iterdir()
    return built


def shipped_files() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in SHIPPED or path.name == "py.typed"
    }


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "run_coordinator.py"]:
        shutil.copy(ROOT / name, tree)
    return build("sdist", tree, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("unpacked")
    subprocess.run([sys.executable, "-m", "tarfile", "-e", str(source_archive), str(unpacked)], check=True)
    (tree,) = unpacked.iterdir()
    return build("wheel", tree, tmp_path_factory.mktemp("wheel"))


def test_the_source_archive_holds_every_package_file_and_the_license(source_archive: Path) -> None:
    with tarfile.open(source_archive) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped_files() | {"run_coordinator.py", "README.md", "LICENSE", "pyproject.toml"} <= names


def test_the_wheel_holds_every_package_file_under_one_name_of_ours(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"compute_router/{name}" for name in shipped_files()} | {"run_coordinator.py"} <= names


def test_the_wheel_puts_no_generic_name_into_site_packages(wheel: Path) -> None:
    top_level = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {
        "compute_router",
        "run_coordinator.py",
    }


def test_the_wheel_installs_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert b"compute-router = compute_router.sdk.__main__:main" in archive.read(entry_points)
