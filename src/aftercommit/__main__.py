"""`python -m aftercommit` is the command `aftercommit`."""

from aftercommit.cli.main import main

if __name__ == "__main__":
    main()
