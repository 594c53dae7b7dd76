"""The one command, assembled from the entry points of the group ``case_exchange.commands``.

Every failure prints one line on standard error: what is wrong, then what to do next. Exit codes: 0 done, 1 refused, or
findings, 2 not attempted (wrong usage, or files that cannot be used).
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version
from typing import NoReturn

import click

from broker.core.errors import CaseExchangeError, Internal, SetupInvalid
from broker.extras import needed

GROUP = "case_exchange.commands"
REFUSED = 1
COULD_NOT_CHECK = 2


class AssembledGroup(click.Group):
    """A group that loads a command only when it is used. So no command waits for the imports of another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed commands."""
        return sorted({*super().list_commands(ctx), *entry_points(group=GROUP).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        for point in entry_points(group=GROUP, name=cmd_name):
            with needed():
                command = point.load()
            if isinstance(command, click.Command):
                return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=AssembledGroup, no_args_is_help=True)
@click.version_option(version("case-exchange"))
def cli() -> None:
    """Move case records between agencies: signed, ordered, provable.

    Example:  case-exchange certs init
    """


def main() -> None:
    """Run the command and exit."""
    try:
        cli(standalone_mode=False)
    except CaseExchangeError as error:
        _fail(error.line, setup=isinstance(error, SetupInvalid))
    except click.ClickException as error:
        error.show()
        sys.exit(COULD_NOT_CHECK)
    except click.Abort:
        _fail("interrupted", setup=True)
    except Exception as error:  # noqa: BLE001 - one line for a defect too; its text may quote a record
        _fail(Internal(f"a defect: {type(error).__name__} at {_origin(error)}").line, setup=False)


def _origin(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def could_not(error: CaseExchangeError) -> NoReturn:
    """End with exit code 2: nothing could be attempted. The class of the error does not matter."""
    _fail(error.line, setup=True)


def _fail(line: str, *, setup: bool) -> NoReturn:
    click.echo(f"case-exchange: {line}", err=True)
    sys.exit(COULD_NOT_CHECK if setup else REFUSED)
