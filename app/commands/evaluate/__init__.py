"""`samplesmith evaluate`: measures of whole sets of images, one file for each."""

import typer

from ..options import Interruptible
from .fid import fid

evaluate = typer.Typer(no_args_is_help=True, help="Measure whole sets of images.")
evaluate.command(cls=Interruptible)(fid)
