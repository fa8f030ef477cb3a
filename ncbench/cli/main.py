"""The command ``ncbench``: its group, what plugins may add, and the exit codes."""

from __future__ import annotations

import atexit
import faulthandler
import signal
import sys
import traceback
from typing import Any

import click

import ncbench
from ncbench.cli import supervisor
from ncbench.cli.commands import (
    backbones,
    compare,
    data,
    errors,
    leaderboard,
    listing,
    plot,
    plugins,
    run,
    saved,
    sweep,
)
from ncbench.cli.terminal import sound_streams, tell
from ncbench.contracts.errors import NcbenchError, described, lacking
from ncbench.discovery.registry import registry

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(ncbench.__version__, prog_name="ncbench")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; works anywhere.")
def cli() -> None:
    """Train and compare debiasing methods, and measure the geometry of neural collapse."""


def built_in_commands() -> list[click.Command]:
    """Return the commands that come with ncbench."""
    making = [run.run, sweep.sweep, listing.list_cards, data.data, backbones.backbones, plugins.plugins]
    showing = [compare.compare, plot.plot, saved.collapse, saved.evaluate, errors.errors, leaderboard.leaderboard]
    return making + showing


def _add_commands() -> None:
    for command in built_in_commands():
        cli.add_command(command)

    found = registry()
    for problem in (*found.broken, *found.conflicts()):
        tell(f"Warning: {problem}")
    found.notify("ncbench_commands", tell, cli=_Guarded(cli))


class _Guarded(click.Group):
    """The group as plugins see it: they may add commands, not replace one."""

    def __init__(self, group: click.Group) -> None:
        super().__init__(group.name)
        self._group = group

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        chosen = name or cmd.name or ""
        if chosen in self._group.commands:
            raise ValueError(f"the command {chosen!r} exists already")
        self._group.add_command(cmd, chosen)


def main() -> None:
    """Run the command line and exit: 0 done, 2 usage, 3 data, 4 diverged, 130 interrupted, 1 any other failure."""
    with sound_streams():
        sys.exit(_exit_code())


def _exit_code() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    supervisor.go_on_supervised()
    if debug:
        faulthandler.enable()
    try:
        _add_commands()
        code = cli.main(arguments, prog_name="ncbench", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        tell("Interrupted.")
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" ({context.command_path} --help)" if context is not None else ""
        tell(f"Error: {' '.join(error.format_message().split())}{hint}")
        return 2
    except NcbenchError as error:
        if debug:
            traceback.print_exc()
        tell(f"Error: {error}")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output is gone, as in `ncbench list methods | head -1`
        return 1
    except SystemExit:
        raise
    except BaseException as error:  # a plugin's command may raise one
        if debug:
            traceback.print_exc()
        fault = f"{described(error)}. This is a fault in ncbench or a plugin; --debug shows where."
        tell(f"Error: {lacking(error) or fault}")
        return 1
    finally:
        # Python takes a while to end once torch is there, and an impatient Ctrl-C would only bring a traceback.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        supervisor.leave()
