"""The currencies in which Stripe's documents say it charges (docs.stripe.com/currencies).

Owns: the set of codes, and refusing what is not in it. Does not own: minor units and minimum charges (`billing`).
"""

from typing import Final

from stripe_meter.emulator.errors import invalid

_CODES = """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf clp
    cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk
    jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn
    nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std
    szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
"""
CURRENCIES: Final = frozenset(_CODES.split())


def currency_code(text: str, param: str = "currency") -> str:
    """A currency Stripe bills in, in lower case; raises a 400 for any other."""
    if text.lower() not in CURRENCIES:
        raise invalid(f"Invalid currency: {text}", param)
    return text.lower()
