"""The commands of the command line, one file each; `app/cli.py` lists them."""
