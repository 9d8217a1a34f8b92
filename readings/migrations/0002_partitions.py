from django.db import migrations

from readings import partitions


def make(apps, schema_editor):
    partitions.ensure(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("readings", "0001_initial")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
