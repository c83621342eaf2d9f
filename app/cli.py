"""The command line, `xray-report`: its commands are in `app/commands`, one a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from app.commands.bulk import bulk
from app.commands.doctor import doctor
from app.commands.errors import FAILED, CommandError
from app.commands.model import model
from app.commands.pacs import pacs
from app.commands.predict import predict
from app.commands.serve import serve
from app.inference.pipes import printing

PROGRAM = "xray-report"

commands = typer.Typer(
    help="Drafts chest X-ray reports. Research use only. Not for clinical use.",
    epilog="Settings come from the environment, XRAY_REPORT_<NAME>. Exit codes are in docs/command-line.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich's help takes longer to import (Markdown, Pygments) than help may take.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
for command in (serve, predict, bulk, model, doctor, pacs):
    commands.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit code: 0, or 1 after one line on standard error saying what is wrong; others are
    in `app/commands/errors.py`."""
    with printing():
        try:
            commands(arguments, prog_name=PROGRAM)
        except CommandError as error:
            print(f"{PROGRAM}: {error}", file=sys.stderr)
            return error.code
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # for Typer and Rich that is a failure like any other
                raise end.__context__ from None
            return end.code if isinstance(end.code, int) else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
