"""`python -m addrmesh`."""

from addrmesh.cli.main import main

if __name__ == "__main__":
    main()
