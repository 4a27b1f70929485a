"""Currency amounts in English words."""

from __future__ import annotations

# Sign or code: main unit singular and plural, its hundredth singular and plural.
_DOLLAR = "dollar dollars cent cents"
CURRENCIES: dict[str, tuple[str, ...]] = {
    sign: tuple(names.replace("_", " ").split() if "," not in names else (part.strip() for part in names.split(",")))
    for sign, names in {
        "$": _DOLLAR, "£": "pound pounds penny pence", "€": "euro euros cent cents", "¥": "yen yen",
        "₩": "won won", "₹": "rupee rupees paisa paise", "Rs": "rupee rupees", "₽": "ruble rubles kopek kopeks",
        "₿": "bitcoin bitcoins", "₫": "dong dong", "₱": "peso pesos centavo centavos", "฿": "baht baht",
        "₪": "shekel shekels", "₺": "lira lira", "₴": "hryvnia hryvnias", "RM": "ringgit ringgit",
        "R$": "Brazilian real, Brazilian reais", "BRL": "Brazilian real, Brazilian reais",
        "USD": "U S dollar, U S dollars", "EUR": "euro euros", "GBP": "British pound, British pounds",
        "JPY": "Japanese yen, Japanese yen", "CNY": "Chinese yuan, Chinese yuan", "RMB": "R M B, R M B",
        "KRW": "Korean won, Korean won", "INR": "Indian rupee, Indian rupees", "CHF": "Swiss franc, Swiss francs",
        "元": "yuan yuan", "円": "yen yen", "원": "won won", "BTC": "bitcoin bitcoins", "ETH": "ether ether",
    }.items()
}  # fmt: skip
for _signs, _country in {
    ("US$",): "U S", ("A$", "AU$", "AUD"): "Australian", ("C$", "CA$", "CAD"): "Canadian",
    ("HK$", "HKD"): "Hong Kong", ("NZ$", "NZD"): "New Zealand", ("S$", "SG$", "SGD"): "Singapore",
    ("NT$", "TWD"): "New Taiwan",
}.items():  # fmt: skip
    for _sign in _signs:
        _names = (f"{_country} dollar", f"{_country} dollars", "cent", "cents")
        CURRENCIES[_sign] = _names if _sign.endswith("$") else _names[:2]

LETTER_SCALES = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "mm": "million",
    "mil": "million", "bn": "billion", "b": "billion", "B": "billion", "tn": "trillion", "T": "trillion",
}  # fmt: skip
SCALES = ("hundred", "thousand", "lakh", "crore", "million", "billion", "trillion", "quadrillion")
EAST_ASIAN_SCALES = {"千": 3, "千万": 7, "万": 4, "萬": 4, "百万": 6, "亿": 8, "億": 8, "万亿": 12, "兆": 12}
PER = {
    **dict.fromkeys(("h", "hr", "hour"), "hour"), **dict.fromkeys(("s", "sec", "second"), "second"),
    **dict.fromkeys(("min", "minute"), "minute"), **dict.fromkeys(("d", "day"), "day"),
    **dict.fromkeys(("wk", "week"), "week"), **dict.fromkeys(("mo", "month"), "month"),
    **dict.fromkeys(("yr", "year"), "year"), **dict.fromkeys(("mi", "mile"), "mile"),
    **{word: word for word in ("night", "person", "user", "unit", "item", "piece")},
    "kg": "kilogram", "g": "gram", "lb": "pound", "oz": "ounce", "L": "liter", "l": "liter", "dL": "deciliter",
    "mL": "milliliter", "ml": "milliliter", "km": "kilometer", "m": "meter", "sqm": "square meter",
    "sqft": "square foot", "sqcm": "square centimeter", "cum": "cubic meter", "s^2": "second squared",
    "gal": "gallon", "GB": "gigabyte", "MB": "megabyte", "kWh": "kilowatt hour", "100km": "one hundred kilometers",
}  # fmt: skip
