"""`python -m nodeipam`: the command line."""

from nodeipam.cli import main

if __name__ == "__main__":
    main()
