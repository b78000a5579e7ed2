"""Run under Airflow: the approval task, asked step by step as Airflow's scheduler would; writes what it did."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.serialization.serialized_objects import DagSerialization

from anomaly.adapters.settings import Settings
from anomaly.groups import load_group
from anomaly.groups.model import Promotion, PromotionMode
from anomaly.orchestration import approval, dags
from anomaly.orchestration.running import Question

written = load_group(Settings.from_environment().groups / "carriers.yaml")
group = written.model_copy(update={"promotion": Promotion(mode=PromotionMode.REVIEWED)})
asked: list[dict[str, Any]] = []
answers: list[Any] = []
question = Question(answered=False, said="Shall version 7 of carriers serve?", body="**2 appear**")


def answer(_world: Any, _group: Any, fit_id: str, **said: Any) -> str:
    answers.append([fit_id, said])
    return "kept"


vars(hitl)["upsert_hitl_detail"] = lambda **detail: asked.append(detail)
vars(approval)["airflow_world"] = lambda: None
vars(approval)["running"] = SimpleNamespace(question=lambda *_: question, answer=answer)


def does(step: Any, *arguments: Any) -> Any:
    """What it returns, or how long it waits at most."""
    try:
        return step(*arguments)
    except TaskAwaitingInput as waits:
        return {"waits": waits.timeout.total_seconds(), "then": waits.method_name}


fit = dags.fit_dag(group)
stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(fit))
task: Any = fit.get_task("approve")
task.fit_id = "fit-1"
context: Any = {"task_instance": SimpleNamespace(id=uuid4())}
timeout = {"error": "The response timeout has passed.", "error_type": "timeout"}


def said(option: str, who: str | None) -> dict[str, Any]:
    from datetime import UTC, datetime

    user = {"id": "1", "name": who} if who else None
    return {
        "chosen_options": [option],
        "params_input": {"why": "seen"},
        "responded_at": datetime.now(UTC),
        "responded_by_user": user,
    }


found: dict[str, Any] = {"downstream": {t.task_id: sorted(t.downstream_task_ids) for t in stored.tasks}}
found["asks"] = does(task.execute, context)
found["nobody"] = does(task.execute_complete, context, timeout)
found["approve"] = does(task.execute_complete, context, said("Approve", "ada"))
found["reject"] = does(task.execute_complete, context, said("Reject", None))
question = Question(answered=True, said="cleo approved it (mlflow)")
found["elsewhere"] = does(task.execute_complete, context, timeout)
found["nothing to ask"] = does(task.execute, context)
found |= {"asked": [{k: d[k] for k in ("subject", "body", "options", "defaults")} for d in asked], "answers": answers}
Path(sys.argv[1]).write_text(json.dumps(found, default=str))
