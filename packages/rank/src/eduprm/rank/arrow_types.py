"""Arrow types: what a row of them looks like, and which types of the same values can be cut, joined and written.

For `parquet`.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def shape_of(kind: pa.DataType) -> Any:
    """A value made up of a type: "text", 0, 0.0, False, None, b"", a list of one item, an object of all fields."""
    if isinstance(kind, pa.BaseExtensionType):
        return shape_of(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return shape_of(kind.value_type)
    if pa.types.is_struct(kind):
        return {field.name: shape_of(field.type) for field in kind}
    if is_list(kind):
        return [shape_of(kind.value_type)]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_integer(kind):
        return 0
    if pa.types.is_floating(kind):
        return 0.0
    return None if pa.types.is_null(kind) else b""


def writable(kind: pa.DataType) -> pa.DataType:
    """The type with views (string_view and the like) replaced by what holds the same values; views cannot be cut."""
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([_field(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(writable(kind.key_type), writable(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_field(kind.value_field))
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_field(kind.value_field))
    return kind


def is_list(kind: pa.DataType) -> bool:
    """Whether it is a list of one of the five kinds."""
    checks = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(check(kind) for check in checks)


def writable_schema(schema: pa.Schema) -> pa.Schema:
    """A schema of such types, its metadata kept."""
    return pa.schema([_field(field) for field in schema], metadata=schema.metadata)


def as_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of the same columns in the types of a schema."""
    if batch.schema.equals(schema):
        return batch
    fields = [schema.field(name) for name in batch.schema.names]
    columns = [column.cast(field.type) for column, field in zip(batch.columns, fields, strict=True)]
    return pa.record_batch(columns, schema=pa.schema(fields, metadata=schema.metadata))


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(writable(field.type))
