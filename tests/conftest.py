"""What every test gets: missing servers are named, or are failures where all are required."""

pytest_plugins = ["pytester", "tests.servers"]
