"""The one command, assembled from the entry points of the group ``case_exchange.commands``.

Every failure prints one line on standard error: what is wrong, then what to do next. Exit codes: 0 done, 1 refused, or
findings, 2 not attempted (wrong usage, or files or an output that cannot be used), 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from importlib.metadata import entry_points, version
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

import click

from broker.cli.interrupts import INTERRUPTED, ends_at_once
from broker.core.errors import CaseExchangeError, Internal, SetupInvalid
from broker.extras import needed
from broker.trust.system import forbid_core_dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "case_exchange.commands"
REFUSED = 1
COULD_NOT_CHECK = 2
_PRIVATE: Final = 0o077
_ESCAPED: Final = "case-exchange-escaped"


class AssembledGroup(click.Group):
    """A group that loads a command only when it is used. So no command waits for the imports of another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed commands."""
        return sorted({*super().list_commands(ctx), *entry_points(group=GROUP).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        for point in entry_points(group=GROUP, name=cmd_name):
            with needed(), ends_at_once():
                command = point.load()
            if isinstance(command, click.Command):
                return command
        return super().get_command(ctx, cmd_name)

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the command line. It prints the help text and the version."""
        with _usable():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _usable():
            return super().invoke(ctx)


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    """A file or an output that cannot be used is no defect."""
    try:
        yield
    except OSError as error:
        # Without a number it is not the system's: a time that ran out.
        if error.errno is None:
            raise
        # The file's name may be a person's name.
        message = f"a file or the output cannot be used: {error.strerror}"
        raise SetupInvalid(message) from error


@click.group(cls=AssembledGroup, no_args_is_help=True)
@click.version_option(version("case-exchange"))
def cli() -> None:
    """Move case records between agencies: signed, ordered, provable.

    Example:  case-exchange certs init
    """


def main() -> None:
    """Run the command and exit."""
    # What a command writes is for its user alone, if it does not say otherwise.
    os.umask(_PRIVATE)
    forbid_core_dumps()
    codecs.register_error(_ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        _write_everything(stream)
    try:
        cli(standalone_mode=False)
    except CaseExchangeError as error:
        _fail(error.line, setup=isinstance(error, SetupInvalid))
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        sys.exit(COULD_NOT_CHECK)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - one line for a defect too; its text may quote a record
        _fail(Internal(f"a defect: {type(error).__name__} at {_origin(error)}").line, setup=False)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _drop_unwritten(stream)


def _origin(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def could_not(error: CaseExchangeError) -> NoReturn:
    """End with exit code 2: nothing could be attempted. The class of the error does not matter."""
    _fail(error.line, setup=True)


def _fail(line: str, *, setup: bool) -> NoReturn:
    with contextlib.suppress(OSError):
        click.echo(f"case-exchange: {line}", err=True)
    sys.exit(COULD_NOT_CHECK if setup else REFUSED)


def _write_everything(stream: TextIO | None) -> None:
    """Let a stream escape what its encoding does not have, in a way that is right in JSON too."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def _drop_unwritten(stream: TextIO | None) -> None:
    """If a stream cannot be written to the end, drop the rest. Otherwise Python complains at its own end."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
