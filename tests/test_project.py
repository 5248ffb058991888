"""Rules about the repository itself that no other tool holds."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
COORDINATOR_PACKAGES = ["actors", "protocol", "storage", "transport"]
PACKAGES = [*COORDINATOR_PACKAGES, "sdk", "worker"]
PROTOCOL_MAY_IMPORT = sys.stdlib_module_names | {"msgspec", "nacl"}

# Split, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|tmp/bash_" + r"jobs)[/.]")


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def imported_modules(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{source} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    return config


def help_text(*command: str) -> str:
    shown = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_every_package_in_the_tree_is_in_setup_cfg() -> None:
    listed = setup_cfg()["options"]["packages"].split()
    found = {
        "compute_router." + ".".join(init.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for init in (ROOT / package).rglob("__init__.py")
    }
    assert found == set(listed)


def test_the_changelog_describes_the_version_of_setup_cfg() -> None:
    version = setup_cfg()["metadata"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_no_tracked_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_files()
        if path.is_file()
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert not found


def test_the_protocol_imports_the_standard_library_msgspec_and_nacl_only() -> None:
    foreign = {
        f"{path.name}: {name}"
        for path in sources("protocol")
        for name in imported_modules(path)
        if name.split(".")[0] not in PROTOCOL_MAY_IMPORT and not name.startswith("compute_router.protocol.")
    }
    assert not foreign


def contract(name: str) -> dict[str, list[str]]:
    """A contract of the layers, by the beginning of its name."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (found,) = (one for one in linter["contracts"] if one["name"].startswith(name))
    return dict(found)


def required(lines: str) -> set[str]:
    """The distributions that a list of requirements names."""
    return {canonicalize_name(Requirement(line).name) for line in lines.split("\n") if line}


def payment_libraries() -> set[str]:
    """The top-level modules that our packages import and that no free job needs."""
    options = setup_cfg()
    free = required(options["options"]["install_requires"])
    distributions = packages_distributions()
    imported = {name.split(".")[0] for path in sources(*PACKAGES) for name in imported_modules(path)}
    return {
        module
        for module in imported - sys.stdlib_module_names - {"compute_router"}
        if not free & {canonicalize_name(name) for name in distributions[module]}
    }


def test_the_contract_about_payment_libraries_names_each_that_is_imported() -> None:
    forbidden = contract("Libraries of payments")["forbidden_modules"]
    imported = payment_libraries()
    assert imported >= {"x402", "web3", "solders", "aiohttp", "Crypto"}
    assert imported <= set(forbidden)


@pytest.mark.parametrize("module", ["sdk", "sdk.__main__", "worker", "worker.__main__", "transport.app"])
def test_who_does_not_pay_loads_no_library_of_payments(module: str) -> None:
    program = f"import sys, compute_router.{module}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())
    assert f"compute_router.{module}" in loaded
    brought = {"certifi", "pydantic"}  # by httpx and by ollama
    assert not loaded & set(contract("Libraries of payments")["forbidden_modules"]) - brought


def test_nothing_imports_the_script_that_wires_the_coordinator() -> None:
    found = {
        path.name
        for path in sources(*PACKAGES)
        for name in imported_modules(path)
        if "run_coordinator" in name
    }
    assert not found


@pytest.mark.parametrize(
    "path",
    [path for path in sources(*COORDINATOR_PACKAGES) if path.name != "__main__.py"],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_only_programs_read_the_environment(path: Path) -> None:
    names = {
        node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)
    }
    assert not names & {"environ", "environb", "getenv"}
    assert not {"os.environ", "os.getenv"} & set(imported_modules(path))


@pytest.mark.parametrize("command", [["run_coordinator.py"], ["-m", "compute_router.worker"]], ids=" ".join)
def test_the_readme_documents_every_flag(command: list[str]) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_text(*command))) - {"--help"}
    assert flags
    assert not {flag for flag in flags if not re.search(rf"{flag}(?![\w-])", readme)}


@pytest.mark.parametrize(
    ("name", "module", "prefix", "some"),
    [
        ("facilitator.md", "facilitator", "FACILITATOR", {"CHAIN", "KEY", "PAY_TO"}),
        ("payouts.md", "payer", "PAYOUT", {"CHAIN", "KEY", "THRESHOLD"}),
    ],
)
def test_the_document_of_a_program_names_its_every_flag_with_its_variable(
    name: str, module: str, prefix: str, some: set[str]
) -> None:
    document = (ROOT / "docs" / name).read_text("utf-8")
    told = help_text("-m", f"compute_router.transport.{module}")
    variables = set(re.findall(rf"COMPUTE_ROUTER_{prefix}_([A-Z_]+)", told))
    assert variables >= some
    rows = [line for line in document.splitlines() if line.startswith("| `--")]
    for variable in variables:
        flag = "--" + variable.lower().replace("_", "-")
        assert [row for row in rows if f"`{flag}`" in row and f"`{variable}`" in row], flag


def test_the_readme_documents_every_environment_variable() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    read = {
        name
        for path in [*sources(*PACKAGES), ROOT / "run_coordinator.py"]
        for name in re.findall(r"\bCOMPUTE_ROUTER_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))
    }
    assert not {name for name in read if not re.search(rf"\b{name}\b", readme)}
