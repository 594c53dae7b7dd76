"""No module under broker/ knows what a section holds, or can know it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

BROKER = Path(__file__).parents[2] / "broker"
MODULES = sorted(BROKER.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(BROKER)))
def test_no_module_of_the_broker_imports_record_messages_or_adapters(module: Path) -> None:
    tree = ast.parse(module.read_text())
    assert not {name for name in imported(tree) if name.startswith(("caseexchange.records", "adapters"))}
    # Nor by name, as importlib would import it.
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, ast.Module)}
    assert not {text for text in texts - docstrings if "caseexchange.records" in text}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(BROKER)))
def test_no_module_between_publisher_and_subscriber_takes_the_salt_off_a_section(module: Path) -> None:
    """``unsalted`` gives the content. Only a recipient or publisher may use it, and code for the audit stream's own."""
    allowed = {
        "core/sections.py",
        "core/audit/judge.py",
        "client/opening.py",
        "services/versions.py",
    }
    # A holder discloses what it may read, and who got it checks it.
    allowed |= {"client/disclosing.py"}
    allowed |= {"messagelog/kafka/rebuilding.py", "messagelog/kafka/owner.py", "services/auditreading.py"}
    # In every way: imported under another name, or as a part of its module.
    names = {
        name
        for node in ast.walk(ast.parse(module.read_text()))
        for name in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
    }
    assert ("unsalted" in names) is (str(module.relative_to(BROKER)) in allowed)


def test_a_broker_process_has_no_record_message_in_memory() -> None:
    script = "import sys, json, broker.cli.serve; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert "broker.services.publish" in loaded
    assert not [name for name in loaded if name.startswith(("caseexchange.records", "adapters", "certs"))]
    # Nor what seals and opens sections, or reads private encryption keys.
    assert not {"broker.client.sealing", "broker.trust.sealing", "broker.trust.keyfolder"} & set(loaded)
