"""Outputs that are too large for their row go to the storage; what a workflow keeps of its executions, and how long."""

import core.clock
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('workflows', '0009_waits_for_events_and_approvals'),
    ]

    operations = [
        migrations.CreateModel(
            name='Spill',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('path', models.CharField(help_text='Name in the storage.', max_length=128)),
                ('size_bytes', models.BigIntegerField()),
                ('sha256', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(default=core.clock.now)),
                ('check_at', models.DateTimeField(help_text='Null: an attempt names it.', null=True)),
            ],
            options={
                'db_table': 'workflow_spills',
            },
        ),
        migrations.AddField(
            model_name='stepattempt',
            name='spill_id',
            field=models.BigIntegerField(help_text='Spill that holds the output, where it is large.', null=True),
        ),
        migrations.AddField(
            model_name='workflow',
            name='retention_count',
            field=models.IntegerField(blank=True, help_text='How many ended executions are kept.', null=True),
        ),
        migrations.AddField(
            model_name='workflow',
            name='retention_failed_days',
            field=models.IntegerField(blank=True, help_text='How long failed ones are kept.', null=True),
        ),
        migrations.AlterField(
            model_name='workflow',
            name='retention_days',
            field=models.IntegerField(blank=True, help_text='How long ended executions are kept.', null=True),
        ),
        migrations.AddIndex(
            model_name='stepattempt',
            index=models.Index(condition=models.Q(('spill_id__isnull', False)), fields=['spill_id'], name='step_attempts_spilled'),
        ),
        migrations.AddIndex(
            model_name='spill',
            index=models.Index(condition=models.Q(('check_at__isnull', False)), fields=['check_at'], name='spills_to_check'),
        ),
    ]
