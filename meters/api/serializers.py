"""Shapes of this app in the API. Secrets go in and never come out."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from hes.api_input import KnownFields
from meters.hints import explain
from meters.models import Association, Command, Credential, Link, Meter, MeterType, TypeRegister


class AssociationSerializer(serializers.ModelSerializer):
    class Meta:
        model = Association
        fields = ("name", "position", "client_address", "authentication", "ciphering", "purposes")


class TypeRegisterSerializer(serializers.ModelSerializer):
    class Meta:
        model = TypeRegister
        fields = ("class_id", "logical_name", "attribute", "scaler", "unit")


class MeterTypeSerializer(serializers.ModelSerializer):
    associations = AssociationSerializer(many=True)
    registers = TypeRegisterSerializer(many=True)

    class Meta:
        model = MeterType
        fields = (
            "name",
            "manufacturer",
            "description",
            "server_address",
            "time_zone",
            "deviation_inverted",
            "null_data_repeats",
            "request_pause_s",
            "null_data_repeats",
            "max_pdu_bytes",
            "request_pause_s",
            "response_timeout_s",
            "event_log",
            "disconnect_control",
            "invocation_counter",
            "associations",
            "registers",
        )


class ErrorSerializer(serializers.Serializer):
    """What went wrong, and what can be done."""

    code = serializers.CharField()
    cause = serializers.CharField(
        help_text="association, timeout, incomplete, security, service, link or internal"
    )
    detail = serializers.CharField()
    hint = serializers.CharField()
    at = serializers.DateTimeField(allow_null=True)


def error_of(code: str, detail: str, at: Any) -> dict[str, Any] | None:
    """The error block of a row, or None where there is none."""
    if not code:
        return None
    explained = explain(code)
    return {"code": code, "cause": explained.cause, "detail": detail, "hint": explained.hint, "at": at}


class LinkStateSerializer(serializers.ModelSerializer):
    class Meta:
        model = Link
        fields = ("state", "node", "peer", "since", "last_seen", "reason")


class LinkSerializer(LinkStateSerializer):
    meter = serializers.SlugRelatedField("serial", read_only=True)

    class Meta(LinkStateSerializer.Meta):
        fields = ("meter", *LinkStateSerializer.Meta.fields, "clashes", "last_clash_at")


class SecretsSerializer(KnownFields):
    """Keys as 32 hex digits, the password as it is. Write-only: they are stored enveloped and never shown."""

    guek = serializers.CharField(required=False, write_only=True, help_text="Global unicast encryption key.")
    gak = serializers.CharField(required=False, write_only=True, help_text="Global authentication key.")
    lls_password = serializers.CharField(required=False, write_only=True, trim_whitespace=False)


class RelaySerializer(serializers.Serializer):
    output_state = serializers.BooleanField(allow_null=True)
    control_state = serializers.IntegerField(allow_null=True)
    control_mode = serializers.IntegerField(allow_null=True)
    read_at = serializers.DateTimeField(source="relay_read_at", allow_null=True)


class MeterSerializer(KnownFields, serializers.ModelSerializer):
    serial = serializers.CharField(max_length=64)
    system_title = serializers.CharField(
        max_length=16, required=False, allow_null=True, allow_blank=True, help_text="16 hex digits."
    )
    meter_type = serializers.SlugRelatedField(
        "name", queryset=MeterType.objects.all(), help_text="Name of the meter type."
    )
    link = serializers.SerializerMethodField()
    last_error = serializers.SerializerMethodField()
    relay = RelaySerializer(source="*", read_only=True)
    credentials = serializers.SerializerMethodField(help_text="Kinds of secrets that are set.")
    secrets = SecretsSerializer(write_only=True, required=False)
    reason = serializers.CharField(write_only=True, required=False, max_length=500, allow_blank=True)

    class Meta:
        model = Meter
        fields = (
            "serial",
            "meter_type",
            "state",
            "system_title",
            "logical_device_name",
            "server_address",
            "time_zone",
            "note",
            "created_at",
            "link",
            "last_ok_at",
            "last_error",
            "clock_drift_s",
            "relay",
            "credentials",
            "secrets",
            "reason",
        )
        read_only_fields = ("created_at", "last_ok_at", "clock_drift_s")

    @extend_schema_field(LinkStateSerializer(allow_null=True))
    def get_link(self, meter: Meter) -> Any:
        link = getattr(meter, "link", None)
        return None if link is None else LinkStateSerializer(link).data

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_last_error(self, meter: Meter) -> Any:
        error = error_of(meter.last_error_code, meter.last_error_detail, meter.last_error_at)
        return None if error is None else ErrorSerializer(error).data

    @extend_schema_field(serializers.ListField(child=serializers.ChoiceField(Credential.Kind.choices)))
    def get_credentials(self, meter: Meter) -> list[str]:
        return sorted(credential.kind for credential in meter.credentials.all())


class CommandSerializer(serializers.ModelSerializer):
    meter = serializers.SlugRelatedField("serial", read_only=True)
    requested_by = serializers.SlugRelatedField("username", read_only=True)
    parameters = serializers.DictField(read_only=True)
    error = serializers.SerializerMethodField()
    result = serializers.DictField(
        read_only=True,
        allow_null=True,
        help_text="What was read, the evidence of a switch, links to the rows.",
    )

    class Meta:
        model = Command
        fields = (
            "id",
            "meter",
            "kind",
            "parameters",
            "state",
            "reason",
            "requested_by",
            "created_at",
            "not_after",
            "started_at",
            "acted_at",
            "finished_at",
            "attempts",
            "error",
            "result",
        )
        read_only_fields = fields

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, command: Command) -> Any:
        error = error_of(command.error_code, command.error_detail, command.finished_at)
        return None if error is None else ErrorSerializer(error).data


class CommandOrderSerializer(KnownFields):
    """An order. Parameters by kind: profile_read takes logical_name, from and to; events_read from and to or
    nothing; registers_read a list logical_names or nothing; the others nothing."""

    meter = serializers.CharField(help_text="Serial of the meter.")
    kind = serializers.ChoiceField(Command.Kind.choices)
    parameters = serializers.DictField(required=False, default=dict)
    reason = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=500, help_text="Needed to switch a relay."
    )
    not_after = serializers.DateTimeField(
        required=False, help_text="Nothing is sent after this time; default: the head-end's command deadline."
    )
