"""The README's program for the SDK, word for word."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from aftercommit.testing.node_process import Server
from tests.examples.conftest import EXAMPLES

README = EXAMPLES.parent / "README.md"


def test_the_program_of_the_readme_writes_and_publishes(node: Server, tmp_path: Path):
    (program,) = re.findall(r"```python\n# orders\.py\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "orders.py").write_text(program.replace("http://127.0.0.1:8340", node.url))
    with node.client() as client:
        client.put_topic("orders.created", subscriptions=["billing"])
        subprocess.run([sys.executable, "orders.py"], cwd=tmp_path, check=True, timeout=60)
        (message,) = client.pull("orders.created", "billing", wait_seconds=10)
    assert message.json() == {"order": 44}
    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection:
        assert connection.execute("SELECT number FROM orders").fetchall() == [(44,)]
