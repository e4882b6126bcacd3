"""A missing server is named in the summary, and is a failure where all are required."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TESTS = """
import pytest
from tests.servers import require_server

def test_one(): require_server("kafka", found=False)
def test_two(): require_server("redis", found=True)
@pytest.mark.skip(reason="not on a Tuesday")
def test_three(): assert False
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs the three tests above in a pytest of their own."""

    def run_with(required: str) -> pytest.RunResult:
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
        monkeypatch.setenv("AFTERCOMMIT_TEST_REQUIRE", required)
        pytester.makepyfile(TESTS)
        return pytester.runpytest_subprocess("-p", "tests.servers")

    return run_with


def test_a_missing_server_is_skipped_and_named(run):
    result = run(required="")

    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["Not tested, because these servers cannot be started here: kafka (1)"])


def test_a_missing_server_is_a_failure_where_all_are_required(run):
    result = run(required="all")

    result.assert_outcomes(passed=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["*cannot start server kafka*"])
