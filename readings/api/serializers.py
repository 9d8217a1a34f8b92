"""Shapes of this app in the API. Answers of GET are built by the views, row by row; these describe them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from hes.api_input import KnownFields


class ChannelSerializer(serializers.Serializer):
    """One channel of a profile: what all of its values are."""

    obis = serializers.CharField(help_text="Logical name, `A-B:C.D.E.F`.")
    class_id = serializers.IntegerField()
    attribute = serializers.IntegerField()
    unit = serializers.CharField(help_text='Symbol, such as "Wh"; empty where there is no unit.')
    unit_code = serializers.IntegerField(help_text="Number of the unit in the Blue Book's table.")
    scaler = serializers.IntegerField(help_text="Power of ten; the values are scaled already.")
    coding = serializers.ChoiceField(["int", "u64", "f32", "f64", "bits", "extra"])


class LayoutSerializer(serializers.Serializer):
    version = serializers.IntegerField()
    capture_period_s = serializers.IntegerField(help_text="0: captured on events.")


class LongReadingSerializer(serializers.Serializer):
    """One value of one channel, as the rows of `form=long` are."""

    obis = serializers.CharField()
    attribute = serializers.IntegerField()
    value = serializers.JSONField(allow_null=True)
    unit = serializers.CharField()
    timestamp = serializers.DateTimeField()
    status = serializers.JSONField(allow_null=True)


class ProfileSerializer(serializers.Serializer):
    """Rows of a profile, [timestamp, status, value of each channel ...], in the order of their time.

    Values are exact decimals as text, bits as "0101", null where the meter gave none, and {"type", "value"}
    (not scaled, octets as hex) where the type of a value fits no number.
    """

    meter = serializers.CharField()
    profile = serializers.CharField()
    layout = LayoutSerializer(allow_null=True)
    channels = ChannelSerializer(many=True)
    rows = serializers.ListField(
        child=serializers.ListField(child=serializers.JSONField(allow_null=True)),
        required=False,
        help_text="Absent in the long form.",
    )
    readings = LongReadingSerializer(many=True, required=False, help_text="Only in the long form.")
    clock_status = serializers.ListField(
        child=serializers.ListField(child=serializers.JSONField()),
        help_text="[timestamp, clock_status] of the rows whose clock_status is not 0.",
    )
    gaps = serializers.ListField(
        child=serializers.ListField(child=serializers.JSONField()),
        allow_null=True,
        help_text="[from, to, missing] of this page, `to` exclusive; null for profiles captured on events.",
    )
    next = serializers.URLField(allow_null=True, help_text="The next page; it may have another layout.")


class LatestSerializer(serializers.Serializer):
    obis = serializers.CharField()
    attribute = serializers.IntegerField()
    value = serializers.JSONField(allow_null=True)
    unit = serializers.CharField()
    unit_code = serializers.IntegerField()
    scaler = serializers.IntegerField()
    timestamp = serializers.DateTimeField(help_text="When the meter had the value.")
    age_s = serializers.FloatField()
    source = serializers.ChoiceField(["cache", "store"])
    stored = serializers.BooleanField(help_text="Whether it has reached the database.")


class InstantaneousSerializer(serializers.Serializer):
    meter = serializers.CharField()
    registers = LatestSerializer(many=True)


class OrderSerializer(KnownFields):
    """What each order to read now may hold."""

    meter = serializers.CharField(help_text="Serial of the meter.")
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)
    not_after = serializers.DateTimeField(
        required=False, help_text="Nothing is sent after this time; default: the head-end's command deadline."
    )


class ProfileOrderSerializer(OrderSerializer):
    """Read a range of a profile from the meter now."""

    profile = serializers.CharField(help_text="Logical name of the profile, such as 1-0:99.1.0.255.")

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["from"] = serializers.CharField(help_text="ISO 8601 with an offset or Z.")
        fields["to"] = serializers.CharField(help_text="ISO 8601 with an offset or Z.")
        return fields


class RegistersOrderSerializer(OrderSerializer):
    """Read registers of the meter's type from the meter now."""

    registers = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Logical names; none: all of the type's."
    )
