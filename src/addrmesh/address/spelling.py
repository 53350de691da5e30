"""Names that are nearly another: abbreviated, misheard, one slip of the keyboard away."""

from addrmesh.address import latin


def abbreviates(name: str, full: str) -> bool:
    """Return whether a name leaves out part of a long one: 昆区 for 昆都仑区, 科右中旗 for 科尔沁右翼中旗."""
    if not 2 <= len(name) < len(full) or len(full) < 4 or name[0] != full[0] or name[-1] != full[-1]:
        return False
    if len(full) - len(name) == 1 and len(name) > 2 and ("族" in name or "自治" in name or "自治" not in full):
        return False  # 土家族苗自治州, 达拉旗 for 达拉特旗: all but one character is written, so it is a slip
    if "自治" in full and (("自" in name) is not ("治" in name) or (len(name) == 2 and name[1] == "县")):
        return False  # half of 自治 is a slip, and 融县 may be 融安县 as well as 融水苗族自治县
    if full[-2] == "族" and len(name) > 2 and full.startswith(name[:-1]):  # 管城区 for 管城回族区
        return True
    if len(name) > 2 and "自治" not in full and full[-1] != "旗":  # 清浦区 is not short for 清江浦区
        return False
    rest = iter(full)
    return all(c in rest for c in name)


def is_slip(name: str, full: str, *, town: bool) -> bool:
    """
    Return whether a name is one slip away from a full one.

    Args:
        name: As written.
        full: As it may have been meant.
        town: Towns are many and may be new, so their short names must sound alike too.
    """
    if not apart_by_one(name, full):
        return False
    if len(name) != len(full) or not town or len(full) > 4:
        return True
    return sounds_like(name, full) or sorted(name) == sorted(full)


def sounds_like(one: str, other: str) -> bool:
    """Return whether two names have a reading in common, character by character."""
    return len(one) == len(other) and all(a == b or latin.sound_alike(a, b) for a, b in zip(one, other, strict=True))


def apart_by_one(one: str, other: str) -> bool:
    """Return whether one character was replaced, left out or added, or two neighbours changed places."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    if len(one) == len(other):
        differing = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        if len(differing) == 2 and differing[1] == differing[0] + 1:
            i, j = differing
            return one[i] == other[j] and one[j] == other[i]
        return len(differing) == 1
    short, long = sorted((one, other), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
