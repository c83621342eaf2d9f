"""`xray-report doctor`: what the service would run with here, why, and what to change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from app.commands.errors import FAILED, CommandError
from app.commands.given import CheckpointOption, JsonFlag, read_settings

if TYPE_CHECKING:
    from app.commands.diagnosis import Check

_STYLES = {"ok": "green", "note": "cyan", "warning": "bold yellow", "failure": "bold red"}


def doctor(checkpoint: CheckpointOption = None, as_json: JsonFlag = False) -> None:
    """Say what would run on this machine, why, and what to change.

    The exit code is 1 where the service would not run.
    """
    from app.commands.diagnosis import Check, checks_of_machine, checks_of_settings

    found = list(checks_of_machine())
    try:
        found += checks_of_settings(read_settings(checkpoint=checkpoint))
    except CommandError as error:
        found.append(Check("settings", "failure", str(error), "no other setting was looked at", "correct or unset it"))
    failed = any(one.state == "failure" for one in found)
    if as_json:
        from app.commands import console

        console.plain(json.dumps({"runs": not failed, "checks": [asdict(one) for one in found]}, indent=1))
    else:
        _show(found, failed=failed)
    if failed:
        raise typer.Exit(FAILED)


def _show(found: Sequence[Check], *, failed: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from app.commands import console

    out = console.output()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for one in found:
        said = Text(one.found)
        if one.why:
            said.append(f"\n{one.why}", style="dim")
        if one.change:
            said.append(f"\n-> {one.change}", style="bold")
        table.add_row(Text(one.state, style=_STYLES[one.state]), Text(one.name, style="bold"), said)
    out.print(table)
    out.print()
    changes = sum(bool(one.change) for one in found)
    verdict = "The service would not run here." if failed else "The service would run here."
    hint = " What could be changed is marked ->." if changes else ""
    out.print(Text.assemble((verdict, "bold red" if failed else "bold green"), hint))
