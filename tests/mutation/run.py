"""Mutation tests: change the modules that trust rests on in small ways, and see whether their tests notice.

mutmut makes the mutants and runs the tests (modules.toml) on each, in a copy of the tree under .dev/mutants. They are
counted like this:

- A mutant is killed if a test fails on it, or runs for ever.
- If mypy refuses it, it is not counted: nobody could commit it.
- If it changes only the words of a message for people, it is not counted: no test checks those.
- If it cannot be distinguished from the original, equivalent.toml lists it with the reason, and it is not counted.

The score is how many of a hundred counted mutants were killed. docs/mutants.md has the last one.
"""

from __future__ import annotations

import ast
import itertools
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

import tomli_w

_ROOT: Final = Path(__file__).parents[2]
_WORK: Final = _ROOT / ".dev" / "mutants"
_MUTMUT: Final = Path(sys.executable).with_name("mutmut")
_COPIED: Final = (
    "broker",
    "certs",
    "deploy/kafka",
    "protos",
    "tests/support",
    "tests/unit/broker",
    "tests/conftest.py",
)
_PROCESSES: Final = "2"
_LEAST: Final = 95.0
_KILLED: Final = {"killed", "timeout"}
_REFUSED: Final = "caught by type check"

TESTS: Final[dict[str, list[str]]] = tomllib.loads(Path(__file__).with_name("modules.toml").read_text())["tests"]


class Change(NamedTuple):
    """A mutant's change of some lines of a module."""

    module: str
    was: str
    becomes: str


class Outcome(NamedTuple):
    """The results of a module's mutants."""

    module: str
    killed: int
    refused: int
    wording: int
    equivalent: set[Change]
    survived: list[tuple[str, Change]]

    @property
    def score(self) -> float:
        """How many of a hundred counted mutants were killed."""
        return _score(self.killed, len(self.survived))


def mutate(module: str) -> Outcome:
    """Run every mutant of one module."""
    print(f"{module}: ", end="", flush=True)
    folder = _prepare(module)
    log = folder / "mutmut.log"
    with log.open("w") as out:
        environment = {**os.environ, "MYPYPATH": "protos/gen", "PATH": f"{_MUTMUT.parent}:{os.environ['PATH']}"}
        command = [str(_MUTMUT), "run", "--max-children", _PROCESSES]
        done = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=out, check=False)
    if done.returncode:
        sys.exit(f"mutmut failed: see {log}")
    outcome = _outcome(module, folder)
    print(_line(outcome))
    return outcome


def report(outcomes: list[Outcome]) -> int:
    """Print the mutants that survived and the total score. Return the exit code: 0 if the score is at least 95."""
    for module in outcomes:
        for name, change in module.survived:
            print(f"\n{name}\n  was:     {change.was}\n  becomes: {change.becomes}")
    seen = {change for module in outcomes for change in module.equivalent}
    modules = {module.module for module in outcomes}
    stale = [change for change in _equivalent() if change.module in modules and change not in seen]
    for change in stale:
        print(f"\nequivalent.toml names what no mutant does: {change}")
    print()
    for module in outcomes:
        print(f"{module.module:24}{_line(module)}")
    killed = sum(module.killed for module in outcomes)
    survived = sum(len(module.survived) for module in outcomes)
    score = _score(killed, survived)
    print(f"{'all':24}{score:5.1f} in a hundred: {killed} killed, {survived} survived")
    return int(score < _LEAST or bool(stale))


def _score(killed: int, survived: int) -> float:
    return 100.0 * killed / (killed + survived) if killed + survived else 100.0


def _line(outcome: Outcome) -> str:
    counts = f"{outcome.killed} killed, {len(outcome.survived)} survived"
    left_out = f"{outcome.refused} refused by mypy, {outcome.wording} of words, {len(outcome.equivalent)} equivalent"
    return f"{outcome.score:5.1f} in a hundred: {counts}; not counted: {left_out}"


def _prepare(module: str) -> Path:
    """Copy what the tests of a module need, with the settings of its run."""
    folder = _WORK / module.replace("/", ".")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    settings = tomli_w.dumps({"tool": {"mutmut": _settings(module)}})
    (folder / "pyproject.toml").write_text((_ROOT / "pyproject.toml").read_text() + "\n" + settings)
    return folder


def _settings(module: str) -> dict[str, Any]:
    ignored = ("no-redef", "unused-ignore")  # the copies of a method that assigns attributes define them again
    mypy = ["mypy", "--config-file", "", "--strict", "--explicit-package-bases", "--ignore-missing-imports"]
    codes = [word for code in ignored for word in ("--disable-error-code", code)]
    return {
        "source_paths": ["broker"],
        "only_mutate": [f"broker/{module}.py"],
        "also_copy": ["certs", "deploy", "protos", "tests"],
        "pytest_add_cli_args_test_selection": [f"tests/unit/broker/{name}" for name in TESTS[module]],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "tests.mutation.quick"],
        "process_isolation": "forkserver",  # some tests start threads and servers
        "use_setproctitle": False,
        "use_git_change_detection": False,
        "track_dependencies": False,
        "timeout_multiplier": 10.0,
        "timeout_constant": 5.0,
        "do_not_mutate_patterns": ['^ *message = f?".*"$'],
        "type_check_command": [*mypy, "--follow-imports", "silent", *codes, "--output", "json", f"broker/{module}.py"],
    }


def _outcome(module: str, folder: Path) -> Outcome:
    results = [
        line.strip().split(": ") for line in _ask(folder, "results", "--all", "True").splitlines() if ": " in line
    ]
    equivalent = _equivalent()
    killed = refused = wording = 0
    found: set[Change] = set()
    survived = []
    for name, status in results:
        if status in _KILLED or status == _REFUSED:
            killed += status in _KILLED
            refused += status == _REFUSED
            continue
        change = _change(module, _ask(folder, "show", name))
        if _is_wording(change):
            wording += 1
        elif change in equivalent:
            found.add(change)
        else:
            survived.append((f"{name}: {status}", change))
    return Outcome(module, killed, refused, wording, found, survived)


def _ask(folder: Path, *command: str) -> str:
    return subprocess.run([_MUTMUT, *command], cwd=folder, capture_output=True, text=True, check=True).stdout


def _change(module: str, diff: str) -> Change:
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, becomes = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Change(module, was, becomes)


def _is_wording(change: Change) -> bool:
    """Whether both are equal except for texts that contain a blank. Those are for people."""

    def shape(line: str) -> str | None:
        for frame in ("{}", "{} ...", "if x: ...\n{} ...", "def f():\n {}", "[{}", "[{}]", "f({})", "({}"):
            try:
                tree = ast.parse(frame.format(line))
            except SyntaxError:
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                    node.value = ""
            return ast.dump(tree)
        return None

    if change.becomes.endswith("message = None") or change.becomes == change.was.replace("(message", "(None"):
        return True
    was = shape(change.was)
    return was is not None and was == shape(change.becomes)


def _equivalent() -> set[Change]:
    listed = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text())
    return {
        Change(module, item["was"], item["becomes"])
        for module, item in itertools.chain.from_iterable(
            ((module, item) for item in items) for module, items in listed.items()
        )
    }
