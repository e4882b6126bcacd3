"""The one route table: the server, the OpenAPI document and the documentation page are all made from it.

A new family of calls is a file like its neighbours and a line here: bulk operations, keys and push are to come.
"""

from typing import Any, Final

from aftercommit.api import apps, batches, messages, node, operating, topics
from aftercommit.api.route import Route

ROUTES: Final[tuple[Route[Any], ...]] = (
    *messages.ROUTES,
    *batches.ROUTES,
    *operating.ROUTES,
    *topics.ROUTES,
    *apps.ROUTES,
    *node.ROUTES,
)
