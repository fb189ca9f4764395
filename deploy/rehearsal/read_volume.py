"""Reads volumes of pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.rehearsal.pod_spec import Volume, VolumeItem

if TYPE_CHECKING:
    from deploy.rehearsal.fields import Fields

__all__ = ["read_volume"]


def read_volume(fields: Fields) -> Volume:
    """Return a volume: ConfigMap, Secret, projected, downwardAPI, emptyDir or PersistentVolumeClaim."""
    name = fields.text("name")
    found = [
        volume
        for volume in (
            fields.maybe("configMap", lambda inner: _files(name, inner, "ConfigMap", "name")),
            fields.maybe("secret", lambda inner: _files(name, inner, "Secret", "secretName")),
            fields.maybe("projected", lambda inner: _projected(name, inner)),
            fields.maybe("downwardAPI", lambda inner: _downward(name, inner)),
            fields.maybe("persistentVolumeClaim", lambda inner: _claim(name, inner)),
            fields.maybe("emptyDir", lambda inner: _empty(name, inner)),
        )
        if volume is not None
    ]
    if len(found) != 1:
        fields.fail(
            "(source)", "there must be one of configMap, secret, projected, emptyDir, persistentVolumeClaim"
        )
    return found[0]


def _mode(fields: Fields) -> int:
    return fields.number("defaultMode", 0o644)


def _items(fields: Fields) -> tuple[tuple[str, str, int | None], ...] | None:
    if "items" not in fields:
        return None
    return fields.each(
        "items",
        lambda item: (item.text("key"), item.text("path"), item.number("mode") if "mode" in item else None),
    )


def _source(fields: Fields, kind: str, name_field: str = "name") -> VolumeItem:
    return VolumeItem(
        kind=kind,
        name=fields.text(name_field),
        items=_items(fields),
        optional=fields.flag("optional", default=False),
    )


def _files(name: str, fields: Fields, kind: str, name_field: str) -> Volume:
    return Volume(name=name, kind="files", mode=_mode(fields), items=(_source(fields, kind, name_field),))


def _downward_items(fields: Fields) -> VolumeItem:
    def item(inner: Fields) -> tuple[str, str, int | None]:
        path = inner.text("path")
        key = inner.maybe("fieldRef", lambda reference: reference.text("fieldPath"))
        if key is None:
            inner.fail("fieldRef", "is missing; resourceFieldRef is not supported")
        return (key, path, inner.number("mode") if "mode" in inner else None)

    return VolumeItem(kind="downward", name="", items=fields.each("items", item))


def _downward(name: str, fields: Fields) -> Volume:
    return Volume(name=name, kind="files", mode=_mode(fields), items=(_downward_items(fields),))


def _projected(name: str, fields: Fields) -> Volume:
    def source(inner: Fields) -> VolumeItem:
        found = (
            inner.maybe("configMap", lambda one: _source(one, "ConfigMap"))
            or inner.maybe("secret", lambda one: _source(one, "Secret"))
            or inner.maybe("downwardAPI", _downward_items)
        )
        if found is None:
            inner.fail("(source)", "only configMap, secret and downwardAPI are supported")
        return found

    return Volume(name=name, kind="files", mode=_mode(fields), items=fields.each("sources", source))


def _empty(name: str, fields: Fields) -> Volume:
    size = fields.size("sizeLimit")
    return Volume(
        name=name,
        kind="empty",
        memory=fields.text("medium", "", one_of=("", "Memory")) == "Memory",
        size_bytes=None if size is None else int(size),
    )


def _claim(name: str, fields: Fields) -> Volume:
    fields.only("a mount says so", readOnly=False)
    return Volume(name=name, kind="claim", claim=fields.text("claimName"))
