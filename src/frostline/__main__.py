"""`python -m frostline`: the command, for what starts modules, as `torchrun -m` and `accelerate launch --module` do."""

from frostline.cli import main

if __name__ == "__main__":
    main()
