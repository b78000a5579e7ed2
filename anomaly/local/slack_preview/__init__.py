"""Slack on this machine: a small server that takes the Web API calls this project makes, and shows the channels.

`python -m anomaly.local.slack_preview --port 8082 --folder var/slack` serves

* ``/api/<method>``, with Slack's arguments, answers, limits and errors, so that a message that Slack would
  refuse is refused here too (`blocks`),
* ``/`` and ``/channels/<name>``, the channels as pages (`rendering`, ``templates/``),
* everything kept as files under the folder (`storage`), so that a restart loses nothing.

It is what `make run` posts to, and the fake behind the port `Channel` in the tests. It has no access check: it
listens on the loopback interface and takes any token that looks like one.
"""

from anomaly.local.slack_preview.app import create_app

__all__ = ["create_app"]
