"""``python -m ncbench``."""

from ncbench.cli.main import main

main()
