"""What lies beside the project and not in it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def trained_directory() -> Path:
    """The full-size model trained on CLINC150, which is kept beside the project and not in it."""
    directory = SHARED / "checkpoints" / "intent-24l"
    if not directory.is_dir():
        pytest.skip(f"expected the trained full-size checkpoint at {directory}; it is not part of the repository")
    return directory
