"""What of a setting may be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr

from tiered_llm.tiers import MASK

if TYPE_CHECKING:
    from tiered_llm.settings.catalogue import Entry

_OF_TENANTS = {"tenant_caps", "tenants"}
_ACCOUNT = re.compile(r"://(.*)@", re.DOTALL)
_SECRET_QUERY = re.compile(
    r"([?&][^=&#]*(?:pass|secret|token|key|auth|cred|sig)[^=&#]*=)[^&#]+", re.IGNORECASE
)


def masked(entry: Entry, value: Any) -> Any:
    """A setting's value as plain JSON, without what must not be seen.

    Keys, the values of `model_kwargs` (they may hold headers), passwords in URLs and the
    names of tenants are masked.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, SecretStr) or entry.is_secret:
        return MASK
    if isinstance(value, str) and entry.path[-1] in {"base_url", "store"}:
        return masked_url(value)
    if isinstance(value, Mapping):
        return _masked_table(entry, value)
    if isinstance(value, (list, tuple)):
        return [_item(item) for item in value]
    return value if type(value) in {int, float, str} else _plain(value)


def shown(entry: Entry, value: Any) -> str:
    """A setting's value as a person reads it; a tier without a model is `off`."""
    if value is None:
        return "off" if entry.path[-1] == "model_id" else "unset"
    plain = masked(entry, value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def masked_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of anything with its values masked, its names kept."""
    return dict.fromkeys(table, MASK)


def masked_url(url: str) -> str:
    """A URL without its password and without query values that sound like secrets.

    Works on text, not on parsed URLs, for a password with a stray slash breaks the parsing.
    """
    return _SECRET_QUERY.sub(rf"\1{MASK}", _ACCOUNT.sub(_masked_account, url))


def _masked_account(match: re.Match[str]) -> str:
    user, colon, _ = match.group(1).partition(":")
    return f"://{user if colon else ''}:{MASK}@"


def _masked_table(entry: Entry, table: Mapping[str, Any]) -> Any:
    if entry.path[-1] in _OF_TENANTS:
        return f"{len(table)} tenant(s), not shown" if table else {}
    if entry.is_private:
        return masked_table(table)
    return {name: masked(entry, value) for name, value in table.items()}


def _item(value: Any) -> Any:
    """An item of a list; of a table in one, what was set."""
    if isinstance(value, BaseModel):
        return {name: _item(getattr(value, name)) for name in sorted(value.model_fields_set)}
    if isinstance(value, (list, tuple)):
        return [_item(item) for item in value]
    return value if type(value) in {int, float, bool} else _plain(value)


def _plain(value: Any) -> Any:
    """Decimals as the number they are, everything else in its own words."""
    text = str(value)
    return json.loads(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
