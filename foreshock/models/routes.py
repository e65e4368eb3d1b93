"""Which of several models speaks for a symbol: the one made for it, else for its group, else for
all; of several as narrow the one that uses the most inputs, then the first by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from foreshock.models.base import TIERS, Domain, ModelCard

POOLED: Final = "pooled"
SYMBOL: Final = "symbol:"


def covers(card: ModelCard, symbol: str) -> bool:
    """Whether the model was made for the symbol: a pooled one is for any, that of a group for the
    symbols on its card."""
    if card.scope == POOLED:
        return True
    if card.scope.startswith(SYMBOL):
        return card.scope.removeprefix(SYMBOL) == symbol
    return symbol in card.symbols


def route(cards: Mapping[str, ModelCard], domain: Domain, symbol: str | None) -> str | None:
    """The name of the model that speaks for `symbol` on rows of `domain`, None where none may.

    cards    of the champions, by any names
    symbol   None asks for the model that speaks where no symbol is named: only a pooled one may
    """
    able = [
        (_narrow(card), TIERS.index(card.domain.tier), name)
        for name, card in cards.items()
        if card.domain.admits(domain)
        and (card.scope == POOLED if symbol is None else covers(card, symbol))
    ]
    return min(able, key=lambda each: (-each[0], -each[1], each[2]))[2] if able else None


def _narrow(card: ModelCard) -> int:
    if card.scope == POOLED:
        return 0
    return 2 if card.scope.startswith(SYMBOL) else 1
