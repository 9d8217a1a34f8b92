"""The docs against the code: settings, codes, links, commands. What they say must be so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands

from dlms.enums import (
    AcseServiceProviderDiagnostic,
    AcseServiceUserDiagnostic,
    ActionResult,
    DataAccessResult,
    ServiceErrorCode,
)
from hes.reaper import ROOT
from meters.hints import explain
from workers.errors import BY_CODE

PACKAGES = ("dlms", "gateway", "hes", "meters", "readings", "events", "workers")
DOCS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
#: calls that take a code by position, and where
CODE_PLACE = {
    "BadLine": 2,
    "EmbeddedError": 0,
    "EntryError": 0,
    "FieldProblem": 1,
    "WireError": 0,
    "_bury": 1,
    "_die": 0,
    "_refused": 1,
    "fail": 2,
    "field": 1,
    "plain_problem": 1,
    "problem_body": 1,
}
#: calls that take the reason of a link's end or of a discarded frame
REASON_CALLS = ("discard", "end")


def modules(*packages: str) -> Iterator[ast.Module]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield ast.parse(path.read_text(), filename=str(path))


def text_of(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def codes_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
                if any(getattr(target, "id", "") == "code" for target in targets):
                    yield text_of(getattr(line, "value", None))
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg in ("code", "error_code"):
                    yield text_of(keyword.value)
            place = CODE_PLACE.get(name_of(node))
            if place is not None and place < len(node.args):
                yield text_of(node.args[place])
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            value = text_of(node.value)
            if "_" in value and getattr(target, "id", None) == value:  # ROW_TOO_OLD = "ROW_TOO_OLD"
                yield value


def codes_of_the_code() -> set[str]:
    found = {code for tree in modules(*PACKAGES) for code in codes_in(tree) if CODE.fullmatch(code)}
    results = {
        "DATA_ACCESS": (DataAccessResult, "SUCCESS"),
        "ACTION": (ActionResult, "SUCCESS"),
        "ASSOCIATION": (AcseServiceUserDiagnostic, "NULL"),
        "ASSOCIATION_": (AcseServiceProviderDiagnostic, "NULL"),
        # a wrong counter has a code of its own
        "EXCEPTION": (ServiceErrorCode, "INVOCATION_COUNTER_ERROR"),
    }
    for prefix, (names, but) in results.items():
        found |= {f"{prefix.rstrip('_')}_{one.name}" for one in names if one.name != but}
    return found


def codes_of_the_docs() -> set[str]:
    return {code for words in re.findall(r"`([^`\n]+)`", TROUBLESHOOTING) for code in words.split(", ")}


def rows(heading: str) -> Iterator[tuple[list[str], list[str]]]:
    """(codes, cells) of the tables between a heading and the next one of its level."""
    section = TROUBLESHOOTING.partition(f"\n{heading}\n")[2]
    section = re.split(rf"\n{heading.partition(' ')[0]} ", section)[0]
    for line in section.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield re.findall(r"`([A-Z0-9_]+)`", cells[0]), cells


def test_troubleshooting_every_code_of_the_code_stands_in_it() -> None:
    codes = codes_of_the_code()
    assert len(codes) > 150
    assert codes - codes_of_the_docs() == set()


def test_troubleshooting_causes_are_those_that_the_api_shows() -> None:
    shown = [(code, cells[2]) for codes, cells in rows("## Dialogs") for code in codes]
    assert len(shown) > 100
    assert [(code, cause, explain(code).cause) for code, cause in shown if explain(code).cause != cause] == []


def test_troubleshooting_says_which_errors_are_tried_again() -> None:
    again = {code: cells[3] for codes, cells in rows("## Dialogs") for code in codes}
    wrong = [
        code
        for code, error in BY_CODE.items()
        if again[code] != "-" and error.retryable == again[code].startswith(("no", "only"))
    ]
    assert wrong == []


def test_troubleshooting_every_reason_of_the_gateway_stands_in_it() -> None:
    reasons = {
        text_of(node)
        for tree in modules("gateway")
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and name_of(call) in REASON_CALLS
        for argument in call.args[:1]
        for node in ast.walk(argument)
        if isinstance(node, ast.Constant)
    }
    assert len(reasons) > 10
    assert {reason for reason in reasons if reason} - codes_of_the_docs() == set()


def variables_of_the_example() -> set[str]:
    text = (ROOT / ".env.example").read_text()
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))


def variables_read() -> set[str]:
    """By the typed readers of hes.settings and gateway.config, and by the Procfile's commands."""
    names = set()
    for path in (ROOT / "hes" / "settings.py", ROOT / "gateway" / "config.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and text_of(node.args[0]).isupper():
                names.add(text_of(node.args[0]))
    procfile = (ROOT / "Procfile").read_text()
    names |= set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", procfile))
    return {name for name in names if name.startswith("HES_") or name in ("DATABASE_URL", "REDIS_URL")}


def test_env_example_has_every_setting_and_no_other() -> None:
    assert len(variables_read()) > 30
    assert variables_of_the_example() == variables_read()


def test_operations_lists_every_setting() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert {name for name in variables_read() if f"| `{name}` |" not in text} == set()


def test_operations_every_log_event_stands_in_it() -> None:
    levels = ("debug", "info", "warning", "error", "exception", "critical")
    events = {
        text_of(call.args[0])
        for tree in modules("gateway", "workers", "readings", "events", "meters", "hes")
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and call.args and name_of(call) in levels
        if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "log") == "log"
    }
    text = (ROOT / "docs" / "operations.md").read_text()
    assert len(events) > 40
    assert {event for event in events if event and f"`{event}`" not in text} == set()


def test_readme_licence_gurux_is_imported_by_tests_and_benches_only() -> None:
    imported = set()
    for tree in modules(*PACKAGES, "simulator"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    assert "django" in imported
    assert not any(name.startswith("gurux") for name in imported)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = document.parent / name if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    text = document.read_text()
    scripts = set(re.findall(r"(?<![\w/])(bin/[a-z]+)\b", text))
    assert {script for script in scripts if not (ROOT / script).exists()} == set()
    known = get_commands()
    assert {name for name in re.findall(r"manage\.py ([a-z_]+)", text) if name not in known} == set()
    files = re.findall(r"bin/python (docs/\S+\.py)", text)
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_documents_name_no_machine(document: Path) -> None:
    assert re.findall(r"/(?:root|home|tmp)/\S*", document.read_text()) == []
