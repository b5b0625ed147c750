import subprocess
import boto3
import pytest

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:rotation"


@pytest.fixture
def simulator(monkeypatch, request, tmp_path):
    options = [option for mark in request.node.iter_markers("sim") for option in mark.args]
    environment = {"DATABASE": str(tmp_path / "database"), "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1",
                   "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = ["rotatorctl", "sim", "--listen=127.0.0.1:0", "--retry-delay=100ms", "--env=DATABASE=" + environment["DATABASE"],
               "--function=" + FUNCTION + "=python:lambda_function.lambda_handler", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = process.stdout.readline().split()[-1]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield boto3.client("secretsmanager")
        process.terminate()
