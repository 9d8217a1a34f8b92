"""Hypothesis strategies: every Data type, nested."""

from __future__ import annotations

from hypothesis import strategies as st

from dlms.axdr import BitString, CompactArray, Data, Float, TypeDescription
from dlms.enums import DataType

_BOUNDS = {
    DataType.DOUBLE_LONG: (-(1 << 31), (1 << 31) - 1),
    DataType.DOUBLE_LONG_UNSIGNED: (0, (1 << 32) - 1),
    DataType.BCD: (0, 255),
    DataType.INTEGER: (-128, 127),
    DataType.LONG: (-(1 << 15), (1 << 15) - 1),
    DataType.UNSIGNED: (0, 255),
    DataType.LONG_UNSIGNED: (0, (1 << 16) - 1),
    DataType.LONG64: (-(1 << 63), (1 << 63) - 1),
    DataType.LONG64_UNSIGNED: (0, (1 << 64) - 1),
    DataType.ENUM: (0, 255),
    DataType.DELTA_INTEGER: (-128, 127),
    DataType.DELTA_LONG: (-(1 << 15), (1 << 15) - 1),
    DataType.DELTA_DOUBLE_LONG: (-(1 << 31), (1 << 31) - 1),
    DataType.DELTA_UNSIGNED: (0, 255),
    DataType.DELTA_LONG_UNSIGNED: (0, (1 << 16) - 1),
    DataType.DELTA_DOUBLE_LONG_UNSIGNED: (0, (1 << 32) - 1),
}
_OCTETS = {DataType.DATE_TIME: 12, DataType.DATE: 5, DataType.TIME: 4}
_LATIN_1 = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=200)


def _bit_strings() -> st.SearchStrategy[BitString]:
    return st.text("01", max_size=200).map(BitString.from_text)


def simple(kind: DataType) -> st.SearchStrategy[Data]:
    """Values of one simple type."""
    values: st.SearchStrategy[object]
    if kind in _BOUNDS:
        values = st.integers(*_BOUNDS[kind])
    elif kind in _OCTETS:
        values = st.binary(min_size=_OCTETS[kind], max_size=_OCTETS[kind])
    elif kind in (DataType.FLOAT32, DataType.FLOAT64):
        size = 4 if kind == DataType.FLOAT32 else 8
        values = st.binary(min_size=size, max_size=size).map(Float)
    else:
        values = {
            DataType.NULL_DATA: st.none(),
            DataType.DONT_CARE: st.none(),
            DataType.BOOLEAN: st.booleans(),
            DataType.BIT_STRING: _bit_strings(),
            DataType.OCTET_STRING: st.binary(max_size=300),
            DataType.VISIBLE_STRING: _LATIN_1,
            DataType.UTF8_STRING: st.text(max_size=100),
        }[kind]
    return values.map(lambda value: Data(kind, value))


SIMPLE_TYPES = [
    kind for kind in DataType if kind not in (DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY)
]


def _compact() -> st.SearchStrategy[Data]:
    kinds = [kind for kind in SIMPLE_TYPES if kind not in (DataType.NULL_DATA, DataType.DONT_CARE)]

    def of(types: list[DataType]) -> st.SearchStrategy[Data]:
        description = TypeDescription(DataType.STRUCTURE, 0, tuple(map(TypeDescription, types)))
        row = st.tuples(*map(simple, types)).map(lambda cells: Data(DataType.STRUCTURE, cells))
        rows = st.lists(row, max_size=5).map(tuple)
        return rows.map(lambda items: Data(DataType.COMPACT_ARRAY, CompactArray(description, items)))

    return st.lists(st.sampled_from(kinds), min_size=1, max_size=4).flatmap(of)


def _nested(inner: st.SearchStrategy[Data]) -> st.SearchStrategy[Data]:
    kinds = st.sampled_from([DataType.ARRAY, DataType.STRUCTURE])
    return st.builds(Data, kinds, st.lists(inner, max_size=6).map(tuple))


#: Any value of any type, up to a few levels deep.
data = st.recursive(st.one_of(*map(simple, SIMPLE_TYPES), _compact()), _nested, max_leaves=30)
