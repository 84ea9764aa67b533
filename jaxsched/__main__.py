"""`python -m jaxsched`: the command line."""

import sys

from jaxsched._desk.command import main

if __name__ == "__main__":
    sys.exit(main())
