import uuid

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Meter",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "serial",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[A-Za-z0-9._:-]{1,64}\\Z", "1 to 64 of A-Z a-z 0-9 . _ : -"
                            )
                        ],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("planned", "planned"),
                            ("installed", "installed"),
                            ("commissioned", "commissioned"),
                            ("active", "active"),
                            ("suspended", "suspended"),
                            ("removed", "removed"),
                        ],
                        default="active",
                        max_length=16,
                    ),
                ),
                (
                    "system_title",
                    models.CharField(
                        blank=True,
                        max_length=16,
                        null=True,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "\\A[0-9a-f]{16}\\Z", "16 lower-case hex digits"
                            )
                        ],
                    ),
                ),
                ("logical_device_name", models.CharField(blank=True, max_length=32)),
                (
                    "server_address",
                    models.PositiveIntegerField(blank=True, help_text="Blank: the type's.", null=True),
                ),
                ("time_zone", models.CharField(blank=True, help_text="Blank: the type's.", max_length=64)),
                ("note", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("last_ok_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("last_error_code", models.CharField(blank=True, editable=False, max_length=64)),
                ("last_error_detail", models.CharField(blank=True, editable=False, max_length=500)),
                ("last_error_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("clock_drift_s", models.FloatField(blank=True, editable=False, null=True)),
                ("output_state", models.BooleanField(blank=True, editable=False, null=True)),
                ("control_state", models.PositiveSmallIntegerField(blank=True, editable=False, null=True)),
                ("control_mode", models.PositiveSmallIntegerField(blank=True, editable=False, null=True)),
                ("relay_read_at", models.DateTimeField(blank=True, editable=False, null=True)),
            ],
            options={
                "ordering": ("serial",),
                "permissions": [
                    ("read_meter_now", "Can order a read from a meter"),
                    ("associate_meter", "Can order an association test"),
                    ("disconnect_meter", "Can disconnect a meter"),
                    ("reconnect_meter", "Can reconnect a meter"),
                ],
            },
        ),
        migrations.CreateModel(
            name="MeterType",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=64, unique=True)),
                ("manufacturer", models.CharField(blank=True, max_length=64)),
                ("description", models.TextField(blank=True)),
                (
                    "server_address",
                    models.PositiveIntegerField(default=1, help_text="Wrapper wPort of the logical device."),
                ),
                (
                    "time_zone",
                    models.CharField(
                        default="UTC",
                        help_text="IANA zone of the meter's clock, where its time stamps carry no deviation.",
                        max_length=64,
                    ),
                ),
                (
                    "deviation_inverted",
                    models.BooleanField(
                        default=False, help_text="The maker sends the deviation with the opposite sign."
                    ),
                ),
                (
                    "max_pdu_bytes",
                    models.PositiveIntegerField(
                        default=65535,
                        help_text="Proposed in the AARQ.",
                        validators=[
                            django.core.validators.MinValueValidator(64),
                            django.core.validators.MaxValueValidator(65535),
                        ],
                    ),
                ),
                (
                    "response_timeout_s",
                    models.FloatField(
                        default=20.0,
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(600),
                        ],
                    ),
                ),
                (
                    "event_log",
                    models.CharField(
                        default="0-0:99.98.0.255",
                        help_text="Logical name of the standard log.",
                        max_length=32,
                    ),
                ),
                (
                    "disconnect_control",
                    models.CharField(blank=True, default="0-0:96.3.10.255", max_length=32),
                ),
                (
                    "invocation_counter",
                    models.CharField(
                        blank=True,
                        default="0-0:43.1.0.255",
                        help_text="Readable over the public client, or blank.",
                        max_length=32,
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="UnknownPeer",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("identity", models.CharField(max_length=64, unique=True)),
                ("peer", models.CharField(blank=True, max_length=64)),
                ("node", models.CharField(blank=True, max_length=128)),
                ("first_seen", models.DateTimeField()),
                ("last_seen", models.DateTimeField()),
                ("logins", models.PositiveIntegerField(default=1)),
            ],
            options={
                "ordering": ("-last_seen",),
            },
        ),
        migrations.CreateModel(
            name="Credential",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("guek", "global unicast encryption key"),
                            ("gak", "global authentication key"),
                            ("lls_password", "LLS password"),
                        ],
                        max_length=16,
                    ),
                ),
                ("sealed", models.BinaryField()),
                ("changed_at", models.DateTimeField(auto_now=True)),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="credentials",
                        to="meters.meter",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Command",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("association_test", "association test"),
                            ("clock_read", "read the clock"),
                            ("registers_read", "read registers"),
                            ("profile_read", "read a profile range"),
                            ("events_read", "read the event log"),
                            ("relay_disconnect", "disconnect the relay"),
                            ("relay_reconnect", "reconnect the relay"),
                        ],
                        max_length=24,
                    ),
                ),
                ("parameters", models.JSONField(blank=True, default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("running", "running"),
                            ("confirmed", "confirmed"),
                            ("failed", "failed"),
                            ("unknown", "unknown"),
                            ("expired", "expired"),
                        ],
                        default="queued",
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("not_after", models.DateTimeField()),
                ("idempotency_key", models.CharField(blank=True, max_length=200, null=True)),
                ("claim_token", models.UUIDField(null=True)),
                ("claimed_until", models.DateTimeField(null=True)),
                (
                    "acted_at",
                    models.DateTimeField(help_text="Set and committed before the ACTION is sent.", null=True),
                ),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("error_code", models.CharField(blank=True, max_length=64)),
                ("error_detail", models.CharField(blank=True, max_length=500)),
                (
                    "result",
                    models.JSONField(
                        blank=True, help_text="What was read, evidence of a switch, links to rows.", null=True
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="commands",
                        to="meters.meter",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "id"),
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "action",
                    models.CharField(
                        help_text="noun.verb: command.order, meter.change, credential.set ...", max_length=64
                    ),
                ),
                (
                    "subject",
                    models.CharField(blank=True, help_text="Id of the row acted on.", max_length=128),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                (
                    "facts",
                    models.JSONField(blank=True, default=dict, help_text="What changed, never a secret."),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="audit_entries",
                        to="meters.meter",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ("-at", "-id"),
            },
        ),
        migrations.AddField(
            model_name="meter",
            name="meter_type",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="meters", to="meters.metertype"
            ),
        ),
        migrations.CreateModel(
            name="Association",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=32)),
                ("position", models.PositiveSmallIntegerField(default=0)),
                (
                    "client_address",
                    models.PositiveIntegerField(
                        help_text="Wrapper wPort of the client: 16 public, 1 management."
                    ),
                ),
                (
                    "authentication",
                    models.CharField(
                        choices=[
                            ("lowest", "lowest (0): none"),
                            ("lls", "low (1): password"),
                            ("hls_gmac", "high (5): GMAC"),
                        ],
                        default="hls_gmac",
                        max_length=16,
                    ),
                ),
                (
                    "ciphering",
                    models.CharField(
                        choices=[
                            ("none", "plain"),
                            ("authenticated_encryption", "suite 0, global keys, authenticated encryption"),
                        ],
                        default="authenticated_encryption",
                        max_length=32,
                    ),
                ),
                (
                    "purposes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("read", "read registers, profiles, clock"),
                                ("command", "switch the relay"),
                                ("public", "read the invocation counter without keys"),
                            ],
                            max_length=16,
                        ),
                        default=list,
                        size=None,
                    ),
                ),
                (
                    "meter_type",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="associations",
                        to="meters.metertype",
                    ),
                ),
            ],
            options={
                "ordering": ("meter_type", "position", "id"),
            },
        ),
        migrations.CreateModel(
            name="ReadingPlan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=64, unique=True)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("profile", "profile by range"),
                            ("registers", "instantaneous registers of the type"),
                            ("events", "standard event log"),
                        ],
                        default="profile",
                        max_length=16,
                    ),
                ),
                (
                    "logical_name",
                    models.CharField(
                        blank=True, help_text="Of the profile; blank for register sets.", max_length=32
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("priority", models.SmallIntegerField(default=5, help_text="Smaller is read first.")),
                (
                    "spread_s",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="Due times are spread over this many seconds.",
                        validators=[django.core.validators.MaxValueValidator(86400)],
                    ),
                ),
                (
                    "meter_type",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="plans",
                        to="meters.metertype",
                    ),
                ),
                (
                    "schedule",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="reading_plan",
                        to="django_celery_beat.periodictask",
                    ),
                ),
            ],
            options={
                "ordering": ("priority", "name"),
            },
        ),
        migrations.CreateModel(
            name="DueRead",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("next_due_at", models.DateTimeField(null=True)),
                ("priority", models.SmallIntegerField(default=5)),
                ("claim_token", models.UUIDField(null=True)),
                ("claimed_until", models.DateTimeField(null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("last_error", models.CharField(blank=True, max_length=64)),
                ("last_tried_at", models.DateTimeField(null=True)),
                ("last_ok_at", models.DateTimeField(null=True)),
                (
                    "backfill_from",
                    models.DateTimeField(
                        help_text="Earlier rows are still owed down to this time.", null=True
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="due_reads",
                        to="meters.meter",
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="due_reads",
                        to="meters.readingplan",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ReceivedCounter",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key_id", models.CharField(max_length=32)),
                ("system_title", models.CharField(max_length=16)),
                ("highest", models.BigIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("key_id", "system_title"), name="received_counter_per_key_and_title"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="TypeRegister",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.PositiveSmallIntegerField(default=0)),
                ("class_id", models.PositiveSmallIntegerField(default=3)),
                ("logical_name", models.CharField(max_length=32)),
                ("attribute", models.SmallIntegerField(default=2)),
                ("scaler", models.SmallIntegerField(blank=True, null=True)),
                (
                    "unit",
                    models.PositiveSmallIntegerField(blank=True, help_text="Blue Book unit code.", null=True),
                ),
                (
                    "meter_type",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="registers",
                        to="meters.metertype",
                    ),
                ),
            ],
            options={
                "ordering": ("meter_type", "position", "id"),
            },
        ),
        migrations.CreateModel(
            name="InvocationCounter",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "key_id",
                    models.CharField(
                        help_text="Fingerprint of the key that the counter belongs to.", max_length=32
                    ),
                ),
                ("system_title", models.CharField(help_text="Our own, 16 hex digits.", max_length=16)),
                ("next_value", models.BigIntegerField(default=0)),
                ("last_jump", models.BigIntegerField(default=0)),
                ("last_jump_cause", models.CharField(blank=True, max_length=64)),
                ("last_jump_at", models.DateTimeField(null=True)),
                (
                    "credential",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="counters",
                        to="meters.credential",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("key_id", "system_title"), name="invocation_counter_per_key_and_title"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("next_value__gte", 0), ("next_value__lte", 4294967296)),
                        name="invocation_counter_32_bits",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Link",
            fields=[
                (
                    "meter",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="link",
                        serialize=False,
                        to="meters.meter",
                    ),
                ),
                (
                    "state",
                    models.CharField(choices=[("present", "present"), ("absent", "absent")], max_length=8),
                ),
                ("node", models.CharField(blank=True, max_length=128)),
                ("incarnation", models.CharField(blank=True, max_length=32)),
                ("connection", models.BigIntegerField(default=0)),
                ("peer", models.CharField(blank=True, max_length=64)),
                ("since", models.DateTimeField()),
                ("last_seen", models.DateTimeField()),
                ("reason", models.CharField(blank=True, help_text="Why it is absent.", max_length=32)),
                (
                    "clashes",
                    models.PositiveIntegerField(
                        default=0, help_text="Other connections that claimed this identity."
                    ),
                ),
                ("last_clash_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "present")),
                        fields=["incarnation"],
                        name="link_incarnation",
                    ),
                    models.Index(fields=["state"], name="link_state"),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="credential",
            constraint=models.UniqueConstraint(fields=("meter", "kind"), name="credential_kind_per_meter"),
        ),
        migrations.AddIndex(
            model_name="command",
            index=models.Index(fields=["meter", "-created_at"], name="command_meter_recent"),
        ),
        migrations.AddIndex(
            model_name="command",
            index=models.Index(fields=["-created_at", "id"], name="command_recent"),
        ),
        migrations.AddIndex(
            model_name="command",
            index=models.Index(
                condition=models.Q(("state__in", ("queued", "running"))),
                fields=["not_after"],
                name="command_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="command",
            constraint=models.UniqueConstraint(
                fields=("requested_by", "idempotency_key"), name="command_idempotency_key_per_user"
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["meter", "-at"], name="audit_meter_recent"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["-at", "-id"], name="audit_recent"),
        ),
        migrations.AddIndex(
            model_name="meter",
            index=models.Index(fields=["state"], name="meter_state"),
        ),
        migrations.AddIndex(
            model_name="meter",
            index=models.Index(
                condition=models.Q(("last_error_code", ""), _negated=True),
                fields=["last_error_code"],
                name="meter_last_error",
            ),
        ),
        migrations.AddConstraint(
            model_name="association",
            constraint=models.UniqueConstraint(
                fields=("meter_type", "name"), name="association_name_per_type"
            ),
        ),
        migrations.AddIndex(
            model_name="dueread",
            index=models.Index(
                condition=models.Q(("next_due_at__isnull", False)),
                fields=["priority", "next_due_at"],
                name="due_read_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="dueread",
            constraint=models.UniqueConstraint(fields=("meter", "plan"), name="due_read_per_meter_and_plan"),
        ),
        migrations.AddConstraint(
            model_name="typeregister",
            constraint=models.UniqueConstraint(
                fields=("meter_type", "logical_name", "attribute"), name="register_per_type"
            ),
        ),
    ]
