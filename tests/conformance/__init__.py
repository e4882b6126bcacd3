"""One suite per port, passed by every implementation of it."""

from pathlib import Path

import pytest

# The suites are no test files by name; without this their failed assertions would show no values.
pytest.register_assert_rewrite(*(f"{__name__}.{each.stem}" for each in Path(__file__).parent.glob("*_suite*.py")))
