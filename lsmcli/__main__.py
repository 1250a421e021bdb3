"""`python -m lsmcli`: the same as the command `lsmcli`."""

import sys

from lsmcli.start import main

if __name__ == "__main__":
    sys.exit(main())
