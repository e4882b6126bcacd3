"""The plug-in offers its fixtures by name, and costs nothing to those who do not ask."""

import ast
import subprocess
import sys

import pytest

from aftercommit import testing

# In a project of its own: pytest finds the plug-in by itself, because it is installed.
_ARGUMENTS = ("-p", "no:randomly", "-p", "no:cacheprovider", "-q")


def test_the_fixture_is_a_service_that_is_new_for_each_test(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("run", [1, 2])
        def test_publishing(aftercommit, run):
            assert aftercommit.statuses() == {}
            aftercommit.client(app="orders").prepare("orders.created", {"order": 42}, confirmed=True)
            aftercommit.assert_published("orders.created", count=1)
        """
    )
    pytester.runpytest_subprocess(*_ARGUMENTS).assert_outcomes(passed=2)


def test_the_fixture_works_in_tests_of_asyncio(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.asyncio
        async def test_publishing(aftercommit):
            await aftercommit.async_client(app="orders").prepare("orders.created", {"order": 42}, confirmed=True)
            assert (await aftercommit.drain_async(print)).counts == {"completed": 1}
        """
    )
    pytester.runpytest_subprocess(*_ARGUMENTS).assert_outcomes(passed=1)


def test_the_other_fixture_is_a_real_node(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        def test_it_is_there(aftercommit_server):
            with aftercommit_server.client() as client:
                assert client.ready()
        """
    )
    pytester.runpytest_subprocess(*_ARGUMENTS).assert_outcomes(passed=1)


def test_loading_the_plug_in_imports_nothing_of_the_service():
    program = (
        "import sys, pytest; before = set(sys.modules); import aftercommit.testing.plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    new = set(ast.literal_eval(said.stdout))

    assert {each for each in new if each.startswith("aftercommit")} == {
        "aftercommit",
        "aftercommit.testing",
        "aftercommit.testing.plugin",
    }
    assert not new & {"msgspec", "structlog", "httpx2", "asyncio"}


def test_a_missing_package_is_named_with_what_to_install():
    program = (
        "import sys; sys.modules['structlog'] = None\n"
        "from aftercommit import testing\n"
        "try: testing.InMemoryService\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert "pip install 'aftercommit[server]'" in said.stdout
    assert "structlog" in said.stdout


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_there_and_documented(name: str):
    found = getattr(testing, name)
    assert found.__doc__


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = testing.nonsense  # type: ignore[attr-defined]
