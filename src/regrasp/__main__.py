"""`python -m regrasp`."""

from regrasp.cli import main

main()
