"""Answers calls of the scenario by boto3: one JSON object a line in, one out."""

import base64
import json
import sys

import boto3
import botocore.config
import botocore.exceptions

client = boto3.client(
    "secretsmanager", endpoint_url=sys.argv[1], region_name="us-east-1",
    aws_access_key_id="test", aws_secret_access_key="test",
    config=botocore.config.Config(retries={"max_attempts": 0}))


def plain(x):
    if isinstance(x, bytes):
        return base64.b64encode(x).decode()
    return str(x)


for line in sys.stdin:
    call = json.loads(line)
    args = call["in"]
    if "SecretBinary" in args:
        args["SecretBinary"] = base64.b64decode(args["SecretBinary"])
    method = "".join("_" + c.lower() if c.isupper() else c for c in call["op"]).lstrip("_")
    try:
        out = getattr(client, method)(**args)
        out.pop("ResponseMetadata")
        answer = {"out": out}
    except botocore.exceptions.ClientError as e:
        answer = {"error": e.response["Error"]["Code"], "message": e.response["Error"]["Message"]}
    print(json.dumps(answer, default=plain), flush=True)
