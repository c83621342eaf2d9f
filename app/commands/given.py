"""What commands are given alike: settings and their overrides, and the options of a report.

Options are handed on as they were written. What they may be is checked where the API checks it, with its words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.commands.errors import CommandError
from app.inference.options import EARLY_STOPPING, INCLUDES, MEANINGS, OPERATING_POINTS, RANGES

if TYPE_CHECKING:
    from app.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

CheckpointOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The checkpoint file.", show_default="XRAY_REPORT_CHECKPOINT, else weights/*.pt"),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="JSON for other programs.")]

_OF_CHECKPOINT = "the checkpoint's"  # which `xray-report model` prints
# What each is said to be: its meaning and values, and its default.
_SAID: Mapping[str, tuple[str, str]] = {
    **{name: (f"{one.meaning} {one}", _OF_CHECKPOINT) for name, one in RANGES.items()},
    "early_stopping": (f"{MEANINGS['early_stopping']} {', '.join(EARLY_STOPPING)}", _OF_CHECKPOINT),
    "operating_point": (f"{MEANINGS['operating_point']} {', '.join(OPERATING_POINTS)}", OPERATING_POINTS[0]),
    "sections": (f"{MEANINGS['sections']} Those of the checkpoint, comma-separated", "all"),
    "include": (f"{MEANINGS['include']} {', '.join(INCLUDES)}, comma-separated", "none"),
}


def with_report_options(command: Command) -> Command:
    """The command with an option for each of the API's. It is given them as keyword arguments, None where not asked."""
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option(f"--{name.replace('_', '-')}", metavar="VALUE", help=said, show_default=default),
            ],
        )
        for name, (said, default) in _SAID.items()
    ]
    command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]  # PEP 362
    return command


def chosen(options: Mapping[str, str | None]) -> dict[str, str]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}


def read_settings(**overrides: object) -> Settings:
    """From the environment, and before it what the command line gave. Raises `CommandError`."""
    from app.settings import SettingsError, load_settings

    try:
        return load_settings(**{name: value for name, value in overrides.items() if value is not None})
    except SettingsError as error:
        raise CommandError(str(error)) from error
