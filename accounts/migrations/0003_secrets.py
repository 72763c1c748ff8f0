"""Secrets of owners, and former values that stay masked."""

import core.clock
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_service_owner'),
    ]

    operations = [
        migrations.CreateModel(
            name='RetiredSecret',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('value_encrypted', models.TextField(editable=False)),
                ('retired_at', models.DateTimeField(default=core.clock.now)),
                ('owner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.owner')),
            ],
            options={
                'db_table': 'retired_secrets',
                'ordering': ('-id',),
                'indexes': [models.Index(fields=['owner', '-id'], name='retired_secrets_by_owner')],
            },
        ),
        migrations.CreateModel(
            name='Secret',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('description', models.CharField(blank=True, max_length=255)),
                ('value_encrypted', models.TextField(editable=False, help_text='Fernet, by the first of FIELD_ENCRYPTION_KEYS.')),
                ('version', models.IntegerField(default=1, editable=False, help_text='From 1; each rotation adds one.')),
                ('created_by', models.CharField(blank=True, editable=False, max_length=255)),
                ('created_at', models.DateTimeField(default=core.clock.now, editable=False)),
                ('rotated_at', models.DateTimeField(editable=False, null=True)),
                ('owner', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='secrets', to='accounts.owner')),
            ],
            options={
                'db_table': 'secrets',
                'ordering': ('name', 'id'),
                'constraints': [models.UniqueConstraint(fields=('owner', 'name'), name='secrets_name_per_owner')],
            },
        ),
    ]
