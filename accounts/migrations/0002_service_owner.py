"""Make the built-in owner `service`, whom rows made with the environment's keys belong to."""

from django.db import migrations


def make_service_owner(apps, schema_editor):
    owners = apps.get_model("accounts", "Owner").objects.using(schema_editor.connection.alias)
    owners.get_or_create(kind="service", defaults={"name": "service"})


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [migrations.RunPython(make_service_owner, migrations.RunPython.noop, elidable=False)]
