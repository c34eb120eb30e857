"""The errors of the stores that decisions are kept in."""

from __future__ import annotations

from tiered_llm.errors import TieredLLMError


class DecisionLogError(TieredLLMError):
    """The store of decisions cannot be reached, read or written.

    A caller of a report sees it. A call to a model never does: what could not be written is
    counted as dropped. The message names no tenant and no run; the store's own error, if it
    raised one, is the `__cause__`.
    """
