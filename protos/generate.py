"""Generate protos/gen from the .proto files, or check that what is committed is what they generate.

``python protos/generate.py`` writes protos/gen; with ``--check`` it exits 1 and names every file that differs.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
COMMITTED = PROTOS / "gen"
ROOT_PACKAGE = "caseexchange"
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def generate(target: Path) -> None:
    """Write the whole generated tree into ``target``.

    Raises:
        SystemExit: protoc refused a file; it has printed why.
    """
    sources = sorted((PROTOS / ROOT_PACKAGE).rglob("*.proto"))
    services = [source for source in sources if "\nservice " in source.read_text(encoding="utf-8")]
    # The plugins stand beside this interpreter, whether or not its environment is activated.
    plugins = [f"--plugin={name}={Path(sys.executable).parent / name}" for name in PLUGINS]
    include = [f"-I{PROTOS}", f"-I{files('grpc_tools') / '_proto'}", *plugins]
    target.mkdir(parents=True, exist_ok=True)
    _protoc([*include, f"--python_out={target}", f"--mypy_out={target}", *map(str, sources)])
    _protoc([*include, f"--grpc_python_out={target}", f"--mypy_grpc_out={target}", *map(str, services)])
    root = target / ROOT_PACKAGE
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        (folder / "__init__.py").write_text('"""Generated from the .proto files by protos/generate.py."""\n')
    (root / "py.typed").touch()


def _protoc(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit(1)


def differences(left: Path, right: Path) -> list[str]:
    """Relative paths of files that are not the same in both trees."""
    names = {
        str(path.relative_to(root))
        for root in (left, right)
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        name
        for name in names
        if not ((left / name).is_file() and (right / name).is_file())
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> None:
    """Entry point of the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    if not parser.parse_args().check:
        shutil.rmtree(COMMITTED, ignore_errors=True)
        generate(COMMITTED)
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        stale = differences(Path(fresh), COMMITTED)
    if stale:
        sys.exit("protos/gen is not what the .proto files generate; run `make protos`:\n  " + "\n  ".join(stale))


if __name__ == "__main__":
    main()
