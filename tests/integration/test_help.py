"""What the commands say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from broker.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = 80


def groups(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Group]]:
    """This group of commands and every one below it."""
    yield path, group
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from groups(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "group"), [pytest.param(*each, id=" ".join(each[0]) or "all") for each in groups(cli)]
)
def test_no_command_s_help_is_cut_in_its_list(path: tuple[str, ...], group: click.Group) -> None:
    with click.Context(group, info_name=" ".join(("case-exchange", *path)), terminal_width=COLUMNS) as context:
        listed = group.get_help(context).partition("Commands:")[2]
    assert listed
    assert "..." not in listed
