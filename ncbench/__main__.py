"""The entry of the command ``ncbench``, by its name and as ``python -m ncbench``."""

import sys


def main() -> None:
    """Import the command line and run it; Ctrl-C ends the import, too, in one line."""
    try:
        from ncbench.cli.main import main as run_command_line
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    run_command_line()


if __name__ == "__main__":
    main()
