"""Where the records were; they travel between rooms, and stand in `tiered_llm.records`."""

from tiered_llm.records import (
    INPUT_SHARE,
    OUTCOMES,
    AttemptRecord,
    CallRecord,
    Outcome,
    check_score,
)

__all__ = ["INPUT_SHARE", "OUTCOMES", "AttemptRecord", "CallRecord", "Outcome", "check_score"]
