"""All channels, by the name that a Stack gives them. A further one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ...domain.paging.messages import Message
from ...domain.redaction import redact
from ...ports import Clock, Receipt
from .base import Channel, SetupError
from .guard import Guard
from .http import Poster


def _slack(poster: Poster, guard: Guard, clock: Clock) -> Channel:
    from .slack import Slack

    return Slack(poster)


def _pagerduty(poster: Poster, guard: Guard, clock: Clock) -> Channel:
    from .pagerduty import PagerDuty

    return PagerDuty(poster)


def _webhook(poster: Poster, guard: Guard, clock: Clock) -> Channel:
    from .webhook import Webhook

    return Webhook(poster, clock)


def _email(poster: Poster, guard: Guard, clock: Clock) -> Channel:
    from .mail import Mail

    return Mail(guard)


def _apprise(poster: Poster, guard: Guard, clock: Clock) -> Channel:
    from .apprise_channel import AppriseChannel

    return AppriseChannel(guard)


# Imported at their first use: whoever sends no mail carries no mail.
CHANNELS: Mapping[str, Callable[[Poster, Guard, Clock], Channel]] = {
    "slack": _slack,
    "pagerduty": _pagerduty,
    # A service of PagerDuty whose urgency is a call.
    "phone": _pagerduty,
    "email": _email,
    "webhook": _webhook,
    "apprise": _apprise,
}


class SystemChannels:
    """ports.Channels."""

    def __init__(self, clock: Clock, allowed: Collection[str] = (), refused: Collection[str] = ()) -> None:
        """allowed: networks that may be sent to although they are refused otherwise; refused: further addresses."""
        self._clock = clock
        self._guard = Guard(allowed, refused)
        self._poster = Poster(self._guard)
        self._known: dict[str, Channel] = {}

    async def send(self, channel: str, secret: Mapping[str, str], message: Message, timeout: float) -> Receipt:
        """One try; what is wrongly set up is told in words and not tried again at once."""
        make = CHANNELS.get(channel)
        if make is None:
            return Receipt(False, f"no such channel: {channel}", hard=True)
        if channel not in self._known:
            self._known[channel] = make(self._poster, self._guard, self._clock)
        try:
            return await self._known[channel].send(secret, message, timeout)
        except SetupError as problem:
            return Receipt(False, redact(str(problem), tuple(secret.values()))[:200], hard=True)
        except TimeoutError:
            return Receipt(False, f"no answer within {timeout:g} s")
        except OSError as problem:
            # Also all errors of sockets and TLS; their words may hold an address that is a secret.
            return Receipt(False, type(problem).__name__)
