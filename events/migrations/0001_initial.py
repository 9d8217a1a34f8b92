import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("meters", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("log", models.CharField(max_length=32)),
                ("captured_at", models.DateTimeField()),
                ("code", models.BigIntegerField()),
                ("ordinal", models.SmallIntegerField(default=0)),
                ("clock_status", models.SmallIntegerField(default=0)),
                ("extra", models.BinaryField(help_text="Further columns of the entry, A-XDR.", null=True)),
                ("read_at", models.DateTimeField()),
                (
                    "meter",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="events",
                        to="meters.meter",
                    ),
                ),
            ],
            options={
                "ordering": ("-captured_at", "-id"),
                "indexes": [
                    models.Index(fields=["-captured_at", "-id"], name="event_recent"),
                    models.Index(fields=["meter", "-captured_at", "-id"], name="event_meter_recent"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("meter", "log", "captured_at", "code", "ordinal"), name="event_key"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EventCode",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("log", models.CharField(default="0-0:99.98.0.255", max_length=32)),
                ("code", models.BigIntegerField()),
                ("name", models.CharField(max_length=128)),
                (
                    "severity",
                    models.CharField(
                        choices=[("info", "info"), ("warning", "warning"), ("alarm", "alarm")],
                        default="info",
                        max_length=8,
                    ),
                ),
                (
                    "meter_type",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="event_codes",
                        to="meters.metertype",
                    ),
                ),
            ],
            options={
                "ordering": ("log", "code"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("meter_type", "log", "code"), name="event_code_per_log", nulls_distinct=False
                    )
                ],
            },
        ),
    ]
