"""`python -m jaxsched`: the command line."""

import sys

from jaxsched._command import main

sys.exit(main())
