"""`python -m lsmcli`: the same as the command `lsmcli`."""

from lsmcli.start import main

if __name__ == "__main__":
    main()
