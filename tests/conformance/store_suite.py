"""The store suite: what every store must do. A store passes it by a subclass that says how the store is made."""

from tests.conformance.store_suite_claims import CheckClaimSuite, ClaimSuite, PullClaimSuite
from tests.conformance.store_suite_deliveries import DeliverySuite, OperationSuite
from tests.conformance.store_suite_intake import IntakeSuite
from tests.conformance.store_suite_table import TableSuite


class StoreSuite(
    TableSuite,
    IntakeSuite,
    DeliverySuite,
    OperationSuite,
    ClaimSuite,
    CheckClaimSuite,
    PullClaimSuite,
):
    """All parts."""
