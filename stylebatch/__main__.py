"""`python -m stylebatch`."""

from stylebatch.cli import main

if __name__ == "__main__":
    main(prog_name="python -m stylebatch")
