"""The store suite: what every store must do. A store passes it by a subclass that says how the store is made."""

from tests.conformance.store_suite_catalog import CatalogSuite
from tests.conformance.store_suite_claims import CheckClaimSuite, ClaimSuite, PullClaimSuite
from tests.conformance.store_suite_deliveries import DeliverySuite, OperationSuite
from tests.conformance.store_suite_dispatch import DispatchSuite, RedeliverySuite
from tests.conformance.store_suite_intake import IntakeSuite
from tests.conformance.store_suite_programs import ProgramSuite
from tests.conformance.store_suite_reading import LifeSuite, ReadingSuite, RetentionSuite
from tests.conformance.store_suite_table import TableSuite


class StoreSuite(
    TableSuite,
    IntakeSuite,
    DeliverySuite,
    OperationSuite,
    ClaimSuite,
    CheckClaimSuite,
    PullClaimSuite,
    DispatchSuite,
    RedeliverySuite,
    CatalogSuite,
    ReadingSuite,
    RetentionSuite,
    LifeSuite,
    ProgramSuite,
):
    """All parts."""
