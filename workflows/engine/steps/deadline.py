"""How steps that wait for events or people say until when."""

from datetime import UTC, datetime, timedelta

from pydantic import Field, field_validator

from core import clock
from workflows.engine.steps.base import StepConfig

LONGEST_WAIT_SECONDS = 366 * 86_400


class DeadlineConfig(StepConfig):
    """`timeout_seconds` counts from the wait's begin; `deadline` is a moment. The earlier of the two counts."""

    timeout_seconds: float | None = Field(default=None, gt=0, le=LONGEST_WAIT_SECONDS, allow_inf_nan=False)
    deadline: datetime | None = None

    @field_validator("deadline")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("is out of range") from error

    def until(self) -> datetime | None:
        """Return when the wait ends at the latest, None for never."""
        given = [self.deadline] if self.deadline else []
        if self.timeout_seconds is not None:
            given.append(clock.now() + timedelta(seconds=self.timeout_seconds))
        return min(given, default=None)


def until_text(until: datetime | None) -> str:
    """Return " until 14:00 UTC" for a sentence, with the date unless it is today; nothing without a deadline."""
    if until is None:
        return ""
    is_today = until.date() == clock.now().date()
    return f" until {until:%H:%M} UTC" if is_today else f" until {until:%Y-%m-%d %H:%M} UTC"
