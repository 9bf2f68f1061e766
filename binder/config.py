"""Named limits of the binder."""

from __future__ import annotations

import msgspec

from cell.settings import Natural, Positive


class BinderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator may set; times in milliseconds."""

    delta_ms: Natural = 5
    """Changes of nodes are gathered so long before schedulers hear of them."""
    masks_max: Positive = 512
    """Classes whose static answers are kept for all nodes (a byte per class and node)."""
    settle_rows_max: Positive = 4096
    """Rows of one Settle when outcomes are resent; the outcomes of one commit stay together."""
    gang_repair_ms_max: Positive = 10_000
    """API-server home: a gang whose minimum is not bound so long after its commit is evicted."""
    post_retry_ms: Positive = 1000
    """API-server home: pause before an unanswered or throttled call is made again."""
    posts_max: Positive = 128
    """API-server home: calls in flight."""
