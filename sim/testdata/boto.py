"""Makes a scenario's calls with boto3: one JSON object per line in, one out."""

import base64
import functools
import json
import sys

import boto3
import botocore.config
import botocore.exceptions


@functools.cache
def client(region):
    return boto3.client(
        "secretsmanager", endpoint_url=sys.argv[1], region_name=region,
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
        out = getattr(client(call["region"]), method)(**args)
        out.pop("ResponseMetadata")
        answer = {"out": out}
    except botocore.exceptions.ClientError as e:
        answer = {"error": e.response["Error"]["Code"], "message": e.response["Error"]["Message"]}
    print(json.dumps(answer, default=plain), flush=True)
