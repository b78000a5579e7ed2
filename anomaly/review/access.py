"""Who may see and say what, and how a write proves that it comes from our own page.

Reading a group needs the right to read its DAG, labelling and snoozing the right to edit it; whoever mounts the pages
says how that is found out (`anomaly.ports.review.Access`).

A browser sends the session's cookie with whatever any page makes it send, and a framed page shares the site of its
frame, so the cookie proves who asks, not that they meant it. A write therefore also needs, all three:

* the header ``X-Anomaly-Token`` with a token that only our pages carry: signed, of this person, twelve hours old at
  most; another site can neither read it nor set the header without being allowed to;
* an ``Origin`` that is ours, and no ``Sec-Fetch-Site`` that says otherwise;
* a body of type JSON, which no form can send.

Source: OWASP, "Cross-Site Request Forgery Prevention Cheat Sheet" (signed token, custom header, origin check).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from anomaly.ports.review import Person

TOKEN_HEADER = "X-Anomaly-Token"  # noqa: S105 - a header's name
TOKEN_AGE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class WriteGuard:
    """Tells writes from our own pages from all others.

    Args:
        secret: what tokens are signed with; the same in every server that shows the pages.
        origins: ``https://host`` of addresses under which the pages are shown, beside that of the request itself.
    """

    secret: bytes
    origins: frozenset[str] = frozenset()

    def token(self, person: Person, *, now: datetime) -> str:
        expires = str(int((now + TOKEN_AGE).timestamp()))
        return f"{expires}.{self._signature(person, expires)}"

    def check(self, request: Request, person: Person, *, now: datetime) -> None:
        """
        Raises:
            HTTPException: 403 when anything speaks against it, 415 for a body that is not JSON.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "the body must be JSON")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if site != "same-origin" or request.headers.get("origin") not in self._ours(request):
            raise HTTPException(403, "this write does not come from the review pages")
        expires, _, signature = request.headers.get(TOKEN_HEADER, "").partition(".")
        expected = self._signature(person, expires)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            raise HTTPException(403, "this write carries no valid token; load the page again")
        if datetime.fromtimestamp(int(expires), UTC) <= now:
            raise HTTPException(403, "the page is older than 12 hours; load it again")

    def _signature(self, person: Person, expires: str) -> str:
        return hmac.new(self.secret, f"{expires} {person.id}".encode(), hashlib.sha256).hexdigest()

    def _ours(self, request: Request) -> frozenset[str]:
        here = urlsplit(str(request.base_url))
        return self.origins | {f"{here.scheme}://{here.netloc}"}


def origins(addresses: Iterable[str | None]) -> frozenset[str]:
    """``https://host`` of each address."""
    parts = [urlsplit(address) for address in addresses if address]
    return frozenset(f"{part.scheme}://{part.netloc}" for part in parts)
