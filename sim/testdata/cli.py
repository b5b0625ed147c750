"""Makes a scenario's calls with the AWS CLI: one JSON object per line in, one out."""

import base64
import contextlib
import io
import json
import re
import sys

import awscli.clidriver

failure = re.compile(r"An error occurred \((\w+)\) when calling the \w+ operation(?: \([^)]*\))?: (.*?)\s*$", re.S)
driver = awscli.clidriver.create_clidriver()

for line in sys.stdin:
    call = json.loads(line)
    args = call["in"]
    if "SecretBinary" in args:  # version 1 takes the bytes
        args["SecretBinary"] = base64.b64decode(args["SecretBinary"]).decode()
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = driver.main([
            "secretsmanager", re.sub("([a-z])([A-Z])", r"\1-\2", call["op"]).lower(),
            "--no-paginate", "--output", "json", "--endpoint-url", sys.argv[1], "--region", call["region"],
            "--cli-input-json", json.dumps(args)])
    failed = failure.search(stderr.getvalue())
    if code == 0:
        answer = {"out": json.loads(stdout.getvalue() or "{}")}
    elif failed:
        answer = {"error": failed[1], "message": failed[2]}
    else:
        sys.exit(stderr.getvalue())
    print(json.dumps(answer), flush=True)
