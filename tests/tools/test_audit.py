"""``make audit`` says what it found, and how far it could look."""

from __future__ import annotations

import configparser
import json
import re
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tools import audit
from tools.audit import NotAuditedError, read_report
from tools.installed import changed_files, differences, noted_hashes, read_lock
from tools.lock import LOCK, ROOT, wanted

HASH = "--hash=sha256:" + "0" * 64
GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "odd", "skip_reason": "Dependency not found"}


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages})


def test_a_known_weakness_is_named_with_the_version_that_mends_it() -> None:
    assert read_report(report(GOOD, BAD)) == ["bad 2.0: PYSEC-1, mended in 2.1"]
    assert read_report(report(GOOD)) == []


@pytest.mark.parametrize("said", ["", "no network", "[]", "{}", '{"dependencies": 5}'])
def test_no_report_is_no_audit(said: str) -> None:
    with pytest.raises(NotAuditedError):
        read_report(said)


def test_packages_that_the_database_does_not_know_are_no_audit_and_hide_no_weakness() -> None:
    with pytest.raises(NotAuditedError, match="1 of 2"):
        read_report(report(GOOD, UNKNOWN))
    assert read_report(report(UNKNOWN, BAD)) != []


@pytest.mark.parametrize(
    ("found", "exit_code", "said"),
    [
        ([], 0, "no known weakness"),
        (["bad 2.0: PYSEC-1"], 1, "bad 2.0: PYSEC-1"),
    ],
)
def test_it_fails_for_a_known_weakness(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: list[str],
    exit_code: int,
    said: str,
) -> None:
    monkeypatch.setattr(audit, "weaknesses", lambda: found)
    assert audit.main() == exit_code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(("found", "exit_code"), [([], 0), (["x is installed and not locked"], 1)])
def test_without_a_network_it_compares_with_the_lock_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: list[str], exit_code: int
) -> None:
    def no_network() -> list[str]:
        raise NotAuditedError("no network")

    monkeypatch.setattr(audit, "weaknesses", no_network)
    monkeypatch.setattr(audit, "differences", lambda lock: found)
    assert audit.main() == exit_code
    assert "NOT asked for known weaknesses (no network)" in capsys.readouterr().out


def test_what_is_locked_and_not_so_installed_is_named() -> None:
    found = differences(f"pytest==0.1 \\\n    {HASH}\nno-such-thing==1.0 \\\n    {HASH}\n")
    assert any(line.startswith("pytest is installed as ") for line in found)
    assert "no-such-thing 1.0 is locked and not installed" in found
    assert "hypothesis is installed and not locked" in found


EMPTY, OF_IMPORT = (
    "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
    "3iq63oMsjjUKG9yYz82x4gKsR0nF_FGkqXDUFza231w",
)


def installed(site: Path, name: str, *record: str) -> Distribution:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "RECORD").write_text("\n".join(record))
    return Distribution.at(info)


def test_a_file_that_was_changed_after_it_was_installed_is_named(tmp_path: Path) -> None:
    package = installed(tmp_path, "thing", f"thing.py,sha256={EMPTY},0", "gone.py,sha256=x,1")
    noted = noted_hashes([package])
    (tmp_path / "thing.py").write_bytes(b"")
    assert changed_files(package, noted) == ["gone.py"]
    (tmp_path / "thing.py").write_bytes(b"import os")
    assert changed_files(package, noted) == ["thing.py", "gone.py"]


def test_a_file_that_two_packages_bring_is_that_of_either(tmp_path: Path) -> None:
    one = installed(tmp_path, "one", f"docs/conf.py,sha256={EMPTY},0")
    other = installed(tmp_path, "other", f"docs/conf.py,sha256={OF_IMPORT},9")
    noted = noted_hashes([one, other])
    (tmp_path / "docs").mkdir()
    for content, changed in ((b"", []), (b"import os", []), (b"import re", ["docs/conf.py"])):
        (tmp_path / "docs" / "conf.py").write_bytes(content)
        assert changed_files(one, noted) == changed_files(other, noted) == changed


def test_an_entry_without_version_or_hash_is_an_error() -> None:
    for entry in ("thing==1.0", f"thing>=1.0 \\\n    {HASH}"):
        with pytest.raises(ValueError, match="thing"):
            read_lock(entry)


def test_an_entry_for_another_machine_is_left_out() -> None:
    assert read_lock(f'thing==1.0 ; sys_platform == "no such one" \\\n    {HASH}') == []


# The lock in the repository


def test_the_lock_fulfils_what_the_project_asks_for() -> None:
    locked = dict(read_lock(LOCK.read_text("utf-8")))
    for text in wanted():
        asked = Requirement(text)
        if asked.marker is None or asked.marker.evaluate():
            assert asked.specifier.contains(locked[asked.name]), (
                f"make lock: {text} is locked as {locked[asked.name]}"
            )


def test_every_locked_file_has_a_hash_and_no_registry_is_named() -> None:
    text = LOCK.read_text("utf-8")
    assert read_lock(text)
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links", text)


def test_the_gates_install_from_the_lock_with_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "install --require-hashes --requirement requirements.lock" in makefile
    assert "make audit" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_what_is_wanted_is_all_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    assert "tornado" in config["options"]["install_requires"]
    assert any(line.startswith("tornado") for line in wanted())
    assert any(line.startswith("hypothesis") for line in wanted())
