"""`python -m rerankd`."""

from rerankd.cli.main import main

if __name__ == "__main__":
    main()
