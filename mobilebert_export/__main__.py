"""`python -m mobilebert_export`."""

from mobilebert_export.cli import main

if __name__ == "__main__":
    main()
