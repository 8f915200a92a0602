"""`python -m samplesmith` is the command line."""

from .app.cli import main

main()
