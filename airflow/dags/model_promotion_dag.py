"""A model is promoted by the gate and by a person: the verdict is shown, and a word is waited for.

Wiring only: every step runs a shell by its path, as a command.
"""

import json
import shlex
from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param
from shoplake_steps import command, dag_options, shell_step

from shoplake.forecasting.names import LEARNED_MODELS, XGBOOST
from shoplake.registry.names import MAX_REASON
from shoplake.settings import load_settings

SETTINGS = load_settings()
# A verdict older than that is worth another look.
PATIENCE = timedelta(days=7)

DOC = """
### From challenger to champion, by the gate and by a person

1. **show_verdict**: what the gate says of the challenger: its error over that of the champion and of the best
   forecaster without training, with the limits of 95%. A refusal ends the run here; nobody can overrule it
2. **ask**: the verdict stands under *Required Actions*; approve or reject, within a week
3. **promote**: the gate looks again, and the version that was shown becomes the champion. The history has the name of
   who approved it

The way back: `python ml/promote.py --model xgboost --rollback --reason "…"`.
"""


with DAG(
    "model_promotion",
    description="The challenger becomes the champion, if the gate and a person say so",
    schedule=None,
    params={
        "model": Param(XGBOOST, type="string", enum=list(LEARNED_MODELS), description="Whose challenger"),
        # Without a default: nobody is to be asked about what the command would refuse.
        "reason": Param(type="string", maxLength=MAX_REASON, pattern=r"\S", description="Why, for the history"),
    },
    user_defined_macros={"quote": shlex.quote, "read": json.loads},
    doc_md=DOC,
    **dag_options(SETTINGS),
) as dag:
    MODEL = "{{ quote(params.model) }}"
    TOLD = "read(ti.xcom_pull(task_ids='show_verdict'))"  # the command's last line is its JSON
    show_verdict = shell_step(
        "show_verdict", command("python", "ml/promote.py", "--model", MODEL, "--dry-run", "--json"))
    ask = ApprovalOperator(
        task_id="ask", subject="Promote {{ params.model }} to champion?",
        body=f"{{{{ {TOLD}.message }}}}:\n\n{{% for reason in {TOLD}.reasons %}}- {{{{ reason }}}}\n{{% endfor %}}",
        response_timeout=PATIENCE)
    promote = shell_step("promote", command(
        "python", "ml/promote.py", "--model", MODEL, "--version", f"{{{{ {TOLD}.version }}}}", "--to", "champion",
        "--by", "{{ quote(ti.xcom_pull(task_ids='ask').responded_by_user.name) }}",
        "--reason", "{{ quote(params.reason) }}"))
    show_verdict >> ask >> promote
