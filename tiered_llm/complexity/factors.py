"""The five factors of complexity, each a pure function into [0, 1].

None of them falls when its argument grows: more words, more context, more history, one more
capability or keyword never lower a score. The tests hold this.

The curves are ours. Their shape was chosen on recorded outcomes of light and heavy models,
where prompt length alone is the bar for a scorer that was not trained: each rises steeply at
first and keeps rising far out, so that long requests stay in order.
"""

from __future__ import annotations

from math import log1p, prod, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MESSAGE_COMPLEXITY = "message_complexity"
CONTEXT_REQUIREMENT = "context_requirement"
CAPABILITY_CRITICALITY = "capability_criticality"
CONVERSATION_DEPTH = "conversation_depth"
KEYWORD_SIGNALS = "keyword_signals"

FACTORS = (
    MESSAGE_COMPLEXITY,
    CONTEXT_REQUIREMENT,
    CAPABILITY_CRITICALITY,
    CONVERSATION_DEPTH,
    KEYWORD_SIGNALS,
)
"""Names of the factors, in the order of the original design."""

WORDS_AT_1 = 2_000
LETTERS_AT_1 = 5_000
SENTENCES_AT_1 = 100
SENTENCE_CHARS_AT_1 = 400

CONTEXT_UNIT_TOKENS = 128
"""Context below this is noise, a one-line system prompt; the curve is near linear there."""

UNKNOWN_CAPABILITY = 0.2
"""Criticality of a capability that no list names: an agent that can do things, not a chat."""


def _rise(value: float, at_1: float) -> float:
    """From 0 at 0 to 1 at `at_1`, as the root of a logarithm: steep first, never flat before."""
    return min(1.0, sqrt(log1p(value) / log1p(at_1))) if value > 0 else 0.0


def message_complexity(
    *, word_count: float, distinct_letters: int, sentences: int, longest_sentence: int
) -> float:
    """How much the ask itself says, in [0, 1]; a greeting is near 0.4, twelve words near 0.6.

    Half is the number of words (1 from 2,000 on); 0.3 is richness of vocabulary, as letters
    of the different words, which long and rare words raise (1 from 5,000); 0.2 is structure,
    in equal parts the number of sentences and lines (1 from 100) and the length of the
    longest (1 from 400 characters). Counts rather than ratios such as type to token, since a
    ratio falls when a request gets longer. Source of the parts: the original design.
    """
    return (
        0.5 * _rise(word_count, WORDS_AT_1)
        + 0.3 * _rise(distinct_letters, LETTERS_AT_1)
        + 0.1 * _rise(sentences, SENTENCES_AT_1)
        + 0.1 * _rise(longest_sentence, SENTENCE_CHARS_AT_1)
    )


def context_requirement(context_tokens: int, saturation_tokens: int) -> float:
    """How much must be read besides the ask, in [0, 1].

    Logarithmic in units of 128 tokens; 1 from `saturation_tokens` on, 0 for none. With the
    default of 8,192, 512 tokens give 0.39 and 2,048 give 0.68.
    """
    if context_tokens <= 0:
        return 0.0
    units = context_tokens / CONTEXT_UNIT_TOKENS
    return min(1.0, log1p(units) / log1p(saturation_tokens / CONTEXT_UNIT_TOKENS))


def capability_criticality(
    capabilities: Iterable[str], known: Mapping[str, float], asked: float
) -> float:
    """How much harm a poor answer may do, in [0, 1]: the most critical capability decides.

    A capability counts as listed in `known`, else as its most critical part that is listed
    (`cloud_security_review` as `security`), else as 0.2. Where no capability is declared, or
    a harmless one, the ask speaks for itself: `asked`, the keyword signals, squared, so
    that one word alone means little.
    """
    declared = max((_criticality(name, known) for name in capabilities), default=0.0)
    return min(1.0, max(declared, asked * asked, 0.0))


def _criticality(capability: str, known: Mapping[str, float]) -> float:
    name = capability_key(capability)
    if name in known:
        return known[name]
    return max(known.get(part, UNKNOWN_CAPABILITY) for part in name.split("_"))


def capability_key(name: str) -> str:
    """One spelling for `Security Analysis`, `security-analysis` and `security_analysis`."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def conversation_depth(history_length: int, saturation: int) -> float:
    """How much has been said before, in [0, 1].

    Logarithmic in messages: 1 from `saturation` on, 0 for none. With the default of 20, two
    messages give 0.36 and five give 0.59.
    """
    if history_length <= 0:
        return 0.0
    return min(1.0, log1p(history_length) / log1p(saturation))


def keyword_signals(strengths: Iterable[float]) -> float:
    """How strongly the words speak of hard work, in [0, 1].

    Keywords are taken as independent evidence, each of its strength (a noisy or: 1 less the
    product of what each leaves open); the whole is cubed, since on recorded outcomes
    one word alone tells nothing: it names a topic, several together name a task. One keyword
    of 0.4 gives 0.06, three give 0.48, six 0.87; none gives 0, and a strength of 1 gives 1.
    """
    open_ = prod(1.0 - min(1.0, max(0.0, strength)) for strength in strengths)
    return (1.0 - open_) ** 3
