import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

#: Partitioned, which Django's schema editor cannot say. No foreign keys: meters and layouts are never deleted, and
#: a check per row would double the cost of COPY.
INTERVAL_TABLE = """
CREATE TABLE readings_interval (
    meter_id bigint NOT NULL,
    layout_id bigint NOT NULL,
    captured_at timestamptz NOT NULL,
    read_at timestamptz NOT NULL,
    status bigint,
    ordinal smallint NOT NULL,
    clock_status smallint NOT NULL,
    "values" bigint[] NOT NULL,
    extra bytea,
    CONSTRAINT readings_interval_pkey PRIMARY KEY (meter_id, layout_id, captured_at, ordinal)
) PARTITION BY RANGE (captured_at)
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("meters", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="IntervalRevision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("meter_id", models.BigIntegerField()),
                ("layout_id", models.BigIntegerField()),
                ("captured_at", models.DateTimeField()),
                ("ordinal", models.SmallIntegerField(default=0)),
                ("clock_status", models.SmallIntegerField(default=0)),
                ("status", models.BigIntegerField(null=True)),
                (
                    "values",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(null=True), size=None
                    ),
                ),
                ("extra", models.BinaryField(null=True)),
                ("read_at", models.DateTimeField()),
                ("replaced_at", models.DateTimeField()),
            ],
            options={
                "db_table": "readings_interval_revision",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("meter_id", "layout_id", "captured_at", "ordinal", "read_at"),
                        name="interval_revision_key",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ProfileLayout",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("logical_name", models.CharField(max_length=32)),
                ("version", models.PositiveIntegerField(default=1)),
                ("capture_period_s", models.PositiveIntegerField(help_text="0: captured on events.")),
                (
                    "fingerprint",
                    models.CharField(help_text="SHA-256 over period and columns.", max_length=64),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "meter_type",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="layouts",
                        to="meters.metertype",
                    ),
                ),
            ],
            options={
                "ordering": ("meter_type", "logical_name", "version"),
            },
        ),
        migrations.CreateModel(
            name="MeterProfile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("logical_name", models.CharField(max_length=32)),
                ("verified_at", models.DateTimeField()),
                (
                    "high_water",
                    models.DateTimeField(help_text="captured_at of the newest stored row.", null=True),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="profiles",
                        to="meters.meter",
                    ),
                ),
                (
                    "layout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="readings.profilelayout",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LayoutColumn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                (
                    "role",
                    models.CharField(
                        choices=[("clock", "clock"), ("status", "status"), ("channel", "channel")],
                        max_length=8,
                    ),
                ),
                ("class_id", models.PositiveSmallIntegerField()),
                ("logical_name", models.CharField(max_length=32)),
                ("attribute", models.SmallIntegerField()),
                ("data_index", models.PositiveIntegerField(default=0)),
                ("scaler", models.SmallIntegerField(default=0)),
                (
                    "unit",
                    models.PositiveSmallIntegerField(
                        default=255, help_text="Blue Book unit code; 255: no unit."
                    ),
                ),
                ("coding", models.CharField(default="int", max_length=8)),
                (
                    "null_repeats",
                    models.BooleanField(
                        default=False, help_text="null-data repeats the value of the row before."
                    ),
                ),
                (
                    "layout",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="columns",
                        to="readings.profilelayout",
                    ),
                ),
            ],
            options={
                "ordering": ("layout", "position"),
            },
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(INTERVAL_TABLE, "DROP TABLE readings_interval")],
            state_operations=[
                migrations.CreateModel(
                    name="IntervalRow",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "meter_id",
                                "layout_id",
                                "captured_at",
                                "ordinal",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("captured_at", models.DateTimeField()),
                        ("ordinal", models.SmallIntegerField(default=0)),
                        ("clock_status", models.SmallIntegerField(default=0)),
                        ("status", models.BigIntegerField(null=True)),
                        (
                            "values",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.BigIntegerField(null=True), size=None
                            ),
                        ),
                        ("extra", models.BinaryField(null=True)),
                        ("read_at", models.DateTimeField()),
                        (
                            "meter",
                            models.ForeignKey(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="meters.meter",
                            ),
                        ),
                        (
                            "layout",
                            models.ForeignKey(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="+",
                                to="readings.profilelayout",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "readings_interval",
                        "managed": True,
                    },
                ),
            ],
        ),
        migrations.CreateModel(
            name="RegisterValue",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("logical_name", models.CharField(max_length=32)),
                ("attribute", models.SmallIntegerField(default=2)),
                ("captured_at", models.DateTimeField()),
                ("coding", models.CharField(default="int", max_length=8)),
                ("value", models.BigIntegerField(null=True)),
                ("scaler", models.SmallIntegerField(default=0)),
                ("unit", models.PositiveSmallIntegerField(default=255)),
                ("extra", models.BinaryField(null=True)),
                ("read_at", models.DateTimeField()),
                (
                    "meter",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="register_values",
                        to="meters.meter",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RejectedRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("meter_id", models.BigIntegerField()),
                ("layout_id", models.BigIntegerField(null=True)),
                ("captured_at", models.DateTimeField(null=True)),
                ("code", models.CharField(max_length=64)),
                ("row", models.JSONField(default=dict)),
                (
                    "digest",
                    models.CharField(
                        help_text="Of the row: it is kept once, however often it comes.", max_length=32
                    ),
                ),
                ("rejected_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("meter_id", "layout_id", "digest"),
                        name="rejected_row_once",
                        nulls_distinct=False,
                    )
                ],
                "indexes": [models.Index(fields=["meter_id", "-rejected_at"], name="rejected_row_meter")],
            },
        ),
        migrations.AddConstraint(
            model_name="profilelayout",
            constraint=models.UniqueConstraint(
                fields=("meter_type", "logical_name", "version"), name="layout_version"
            ),
        ),
        migrations.AddConstraint(
            model_name="profilelayout",
            constraint=models.UniqueConstraint(
                fields=("meter_type", "logical_name", "fingerprint"), name="layout_fingerprint"
            ),
        ),
        migrations.AddConstraint(
            model_name="meterprofile",
            constraint=models.UniqueConstraint(fields=("meter", "logical_name"), name="profile_per_meter"),
        ),
        migrations.AddConstraint(
            model_name="layoutcolumn",
            constraint=models.UniqueConstraint(fields=("layout", "position"), name="column_position"),
        ),
        migrations.AddConstraint(
            model_name="registervalue",
            constraint=models.UniqueConstraint(
                fields=("meter", "logical_name", "attribute", "captured_at"), name="register_value_key"
            ),
        ),
    ]
