"""`python -m mediavault`."""

from mediavault.cli import main

main()
