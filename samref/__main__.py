"""``python -m samref``; the commands are in :mod:`samref.cli.main`."""

from samref.cli.main import main

if __name__ == "__main__":
    main()
