"""How figures are printed: one way for the page, the model cards, the terminal and MLflow, so that they agree to the last digit."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

STORED = 6
"""Decimals of ``metrics.tsv``. A figure is rounded to them first, so that it prints the same before it was written and after."""


def figure(value: float, decimals: int = 4) -> str:
    """A metric's value, rounded from its six stored decimals, halves upwards.

    >>> figure(0.62354999), figure(0.623550), figure(0.5724, 3), figure(-0.0000001)
    ('0.6236', '0.6236', '0.572', '0.0000')
    """
    rounded = Decimal(f"{value:.{STORED}f}").quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return str(rounded if rounded else abs(rounded))


def signed(value: float, decimals: int = 4) -> str:
    """A difference, always with its sign.

    >>> signed(0.01234), signed(-0.5), signed(-0.0)
    ('+0.0123', '-0.5000', '+0.0000')
    """
    text = figure(value, decimals)
    return text if text.startswith("-") else f"+{text}"


def interval(low: float, high: float) -> str:
    """A confidence interval, to three decimals.

    >>> interval(0.5541, 0.5925)
    '[0.554, 0.593]'
    """
    return f"[{figure(low, 3)}, {figure(high, 3)}]"


def p_text(p: float) -> str:
    """A p-value as people write it.

    >>> p_text(0.00002), p_text(0.0312), p_text(0.9996), p_text(1.0)
    ('< 0.001', '0.031', '1.000', '1')
    """
    return "< 0.001" if p < 0.001 else "1" if p == 1 else f"{p:.3f}"
