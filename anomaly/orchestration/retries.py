"""When a task is tried again: what the exception says, and nothing else.

`TransientError` is tried again, later each time; `PermanentError` fails at once, because a retry would give
the same. Anything else is a defect or a broken machine: it takes the ordinary retries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from anomaly.exceptions import PermanentError, TransientError

POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            PermanentError, RetryAction.FAIL, reason="Trying again cannot help until somebody changes something."
        ),
        RetryRule(TransientError, RetryAction.RETRY, reason="The world was not ready; a later try may succeed."),
    ]
)

RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=30),
    "retry_policy": POLICY,
}
