"""What every test gets: missing servers are named, or are failures where all are required."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester", "tests.servers"]

# Generating the first example builds tables, which a busy machine makes slow; how long a test takes is no failure here.
settings.register_profile("aftercommit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aftercommit")
