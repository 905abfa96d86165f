"""For Airflow's dags folder: retrain weekly, then watch the promoted version; both may be retried at any time."""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HOME = "/srv/nextclick"

with DAG(
    "nextclick_retrain",
    schedule="0 3 * * 1",
    start_date=datetime(2026, 1, 5),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10)},
):
    retrain = BashOperator(task_id="retrain", cwd=HOME, bash_command=".venv/bin/nextclick retrain --no-watch")
    watch = BashOperator(task_id="watch", cwd=HOME, bash_command=".venv/bin/nextclick watch")
    retrain >> watch
