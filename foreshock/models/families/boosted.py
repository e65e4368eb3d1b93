"""LightGBM's boosted trees, one binary ensemble a horizon."""

from __future__ import annotations

from foreshock.models.boosted import BoostedSettings, fit_one


class Boosted:
    """`foreshock.models.family.Family`."""

    kind = "boosted"
    settings = BoostedSettings
    fit = staticmethod(fit_one)


FAMILY = Boosted()
