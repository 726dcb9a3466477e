#!/bin/sh
# Exit 0 when ADDRESS answers with 200 within five seconds. With COMPONENT: when Airflow's health page there also
# calls that component healthy (scheduler, dag_processor, triggerer).
#   docker/is_healthy.sh ADDRESS [COMPONENT]
exec python -c '
import json, sys, urllib.request
answer = urllib.request.urlopen(sys.argv[1], timeout=5).read()
for component in sys.argv[2:]:
    status = json.loads(answer)[component]["status"]
    if status != "healthy":
        sys.exit(f"{component} is {status}")
' "$@"
