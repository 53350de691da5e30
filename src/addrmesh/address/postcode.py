"""Which province a Chinese post code belongs to, by its first two digits."""

_PROVINCES = {
    "11": "10", "12": "30", "13": "05 06 07", "14": "03 04", "15": "01 02", "21": "11 12", "22": "13", "23": "15 16",
    "31": "20", "32": "21 22", "33": "31 32", "34": "23 24", "35": "35 36", "36": "33 34", "37": "25 26 27",
    "41": "45 46 47", "42": "43 44", "43": "41 42", "44": "51 52", "45": "53 54", "46": "57", "50": "40",
    "51": "61 62 63 64", "52": "55 56", "53": "65 66 67", "54": "85", "61": "71 72", "62": "73 74", "63": "81",
    "64": "75", "65": "83 84",
}  # fmt: skip
_BY_PREFIX = {prefix: province for province, prefixes in _PROVINCES.items() for prefix in prefixes.split()}


def province_of(postcode: str) -> str | None:
    """Return the first two digits of the adcode of a post code's province, None where no province has it."""
    return _BY_PREFIX.get(postcode.strip()[:2])
