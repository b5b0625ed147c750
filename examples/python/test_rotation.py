import json
import subprocess

import pytest

import lambda_function
from conftest import FUNCTION


def create(simulator):
    with lambda_function.database() as db:
        db.execute("CREATE TABLE users (name, password)")
        db.execute("INSERT INTO users VALUES (?, ?)", ("app", lambda_function.digest({"password": "first"})))
    simulator.create_secret(Name="app", SecretString=json.dumps({"username": "app", "password": "first"}))


def rotate():
    subprocess.run(["rotatorctl", "rotate", "app", "--function", FUNCTION, "--timeout", "60s"], check=True)


def current(simulator):
    return json.loads(simulator.get_secret_value(SecretId="app")["SecretString"])


def test_the_new_password_logs_in(simulator):
    create(simulator)
    rotate()
    assert current(simulator)["password"] != "first"
    assert lambda_function.logs_in(current(simulator))
    previous = simulator.get_secret_value(SecretId="app", VersionStage="AWSPREVIOUS")
    assert not lambda_function.logs_in(json.loads(previous["SecretString"]))


@pytest.mark.sim("--fault=crash=0.1", "--fault=duplicate=0.2", "--fault=seed=1", "--max-attempts=50")
def test_rotations_survive_faults(simulator):
    create(simulator)
    for _ in range(2):
        rotate()
        assert lambda_function.logs_in(current(simulator))
