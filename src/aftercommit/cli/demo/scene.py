"""Where a demo takes place: its directory, its addresses, its names. Every process of it is handed this."""

from pathlib import Path
from typing import Final

import msgspec

NODE: Final = "node"
ORDERS: Final = "orders"
STOCK: Final = "stock"
VICTIMS: Final = (NODE, ORDERS, STOCK)

TOPIC: Final = "orders.created"
SUBSCRIPTION: Final = "stock"
CHECK_PATH: Final = "/aftercommit/check"

ITEMS: Final = ("anvil", "bellows", "crucible", "drill")
STOCK_AT_FIRST: Final = 1_000_000

# Short enough that a run sees many check-backs and redeliveries; budgets so large that a slow machine uses none up.
POLICY: Final[dict[str, object]] = {
    "check_after_seconds": 1.0,
    "check_interval_seconds": 0.5,
    "check_interval_max_seconds": 1.0,
    "checks_max": 500,
    "redelivery_seconds": [1.0, 2.0],
    "deliveries_max": 500,
}


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One demo. `seed` makes every decision of it; `directory` holds everything it leaves on disk while it runs."""

    directory: str
    node_port: int
    check_port: int
    orders: int
    seed: int

    @property
    def node_url(self) -> str:
        """Where the node answers."""
        return f"http://127.0.0.1:{self.node_port}"

    @property
    def check_url(self) -> str:
        """Where the order service says what became of its transactions."""
        return f"http://127.0.0.1:{self.check_port}{CHECK_PATH}"

    @property
    def node_database(self) -> str:
        """The node's database, as an address."""
        return f"sqlite:///{self._path('node.db')}"

    @property
    def order_database(self) -> Path:
        """The order service's database."""
        return self._path("orders.db")

    @property
    def stock_database(self) -> Path:
        """The stock service's database."""
        return self._path("stock.db")

    @property
    def checks_tally(self) -> Path:
        """Counts the checks answered."""
        return self._path("checks.tally")

    @property
    def duplicates_tally(self) -> Path:
        """Counts the duplicates the inbox kept away from the stock."""
        return self._path("duplicates.tally")

    @property
    def reports_lost_tally(self) -> Path:
        """Counts the reports the stock service lost on purpose."""
        return self._path("reports-lost.tally")

    def log(self, name: str) -> Path:
        """Where a process writes what it has to say."""
        return self._path(f"{name}.log")

    def _path(self, name: str) -> Path:
        return Path(self.directory) / name
