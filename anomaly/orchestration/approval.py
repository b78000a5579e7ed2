"""The task that asks people whether a challenger shall serve, and hears the answer wherever it is given.

In: a reviewed fit. Out: a verdict in the store, or none in time. The task waits as Airflow's human-in-the-loop tasks
do, in the state *awaiting input*: it takes no worker's slot and needs no triggerer, and people answer it under
*Required actions*. Every `LISTENS_EVERY` the scheduler wakes it, because its own short time to answer is over: then it
asks the registry and the store whether somebody has answered there, and goes on waiting if nobody has. Airflow keeps
an answer that comes just then, and gives it to the task at the next waking. So there is one task, one question, and
the first answer counts, wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.exceptions import TaskAwaitingInput

from anomaly.groups import Group
from anomaly.orchestration import running
from anomaly.orchestration.connections import airflow_world

LISTENS_EVERY = timedelta(minutes=5)
"""So long an answer in MLflow or on the command line may wait until the fit goes on."""
APPROVE, REJECT = "Approve", "Reject"


def form() -> dict[str, Param]:
    """What is asked beside yes or no; for the argument `params`, which Airflow merges with the DAG's before the
    operator sees it."""
    return {"why": Param("", type=["null", "string"], title="Why", description="Kept with the decision.")}


class ApprovalTask(HITLOperator):
    """Asks whether the challenger shall serve.

    Args:
        group: whose.
        fit_id: of the fit; a template.
        kwargs: of every operator; `params` is `form()`.
    """

    template_fields: Collection[str] = ("subject", "body", "fit_id")

    def __init__(self, *, group: Group, fit_id: str, **kwargs: Any) -> None:
        super().__init__(
            subject=f"Shall the new model of {group.name} serve?",
            body="The task's log and the model version's page in MLflow hold the review.",
            options=[APPROVE, REJECT],
            response_timeout=LISTENS_EVERY,
            **kwargs,
        )
        self.group = group
        self.fit_id = fit_id

    def execute(self, context: Context) -> Any:
        """Asks, unless there is nothing left to ask."""
        question = running.question(airflow_world(), self.group, self.fit_id)
        if question.answered:
            return question.said
        self.subject, self.body = question.said, question.body
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Takes the answer; without one, listens elsewhere and waits on."""
        world = airflow_world()
        if event.get("error_type") == "timeout":
            question = running.question(world, self.group, self.fit_id)
            if question.answered:
                return question.said
            self.log.info("Nobody has answered yet, here or in the model registry.")
            raise TaskAwaitingInput(method_name="execute_complete", timeout=LISTENS_EVERY)
        answer = super().execute_complete(context, event)
        who = (answer.get("responded_by_user") or {}).get("name") or "somebody in Airflow"
        approved = answer["chosen_options"] == [APPROVE]
        why = str((answer.get("params_input") or {}).get("why") or "")
        return running.answer(world, self.group, self.fit_id, approved=approved, who=who, why=why)
