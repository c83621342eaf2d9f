"""`xray-report pacs`: reports on the studies of a PACS."""

from __future__ import annotations

import os

from app.commands.errors import CommandError
from app.commands.given import read_settings


def pacs() -> None:
    """Report on the studies of a PACS, by a running service.

    It needs the extra xray-report[hospital]. Its settings come from the environment, as docs/pacs.md lists them.
    """
    import asyncio

    settings = read_settings(checkpoint=os.devnull)  # it loads none
    try:
        from app.pacs.errors import PacsError
        from app.pacs.run import run
    except ImportError as error:
        raise CommandError("pacs needs the packages of the extra xray-report[hospital]") from error
    try:
        asyncio.run(run(settings))
    except PacsError as error:
        raise CommandError(str(error)) from error
