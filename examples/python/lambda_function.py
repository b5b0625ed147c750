"""A rotation Lambda in Python for the password of a database user, here in a SQLite file.

Every step can run twice, and can be interrupted at any point.
"""
import hashlib
import json
import os
import sqlite3

import boto3


def lambda_handler(event, context):
    client = boto3.client("secretsmanager")
    secret, version = event["SecretId"], event["ClientRequestToken"]
    {"createSecret": create, "setSecret": change, "testSecret": test, "finishSecret": finish}[event["Step"]](client, secret, version)


def create(client, secret, version):
    """Stores a new password as AWSPENDING, unless an earlier attempt has."""
    try:
        value(client, secret, VersionId=version, VersionStage="AWSPENDING")
    except client.exceptions.ResourceNotFoundException:
        new = value(client, secret, VersionStage="AWSCURRENT")
        new["password"] = client.get_random_password(ExcludeCharacters="'\"\\")["RandomPassword"]
        client.put_secret_value(SecretId=secret, ClientRequestToken=version, SecretString=json.dumps(new), VersionStages=["AWSPENDING"])


def change(client, secret, version):
    """Sets the new password, unless an earlier attempt has."""
    new = value(client, secret, VersionId=version, VersionStage="AWSPENDING")
    if not logs_in(new):
        current = value(client, secret, VersionStage="AWSCURRENT")
        if not logs_in(current):
            raise ValueError("neither AWSPENDING nor AWSCURRENT logs in")
        with database() as db:
            db.execute("UPDATE users SET password = ? WHERE name = ?", (digest(new), new["username"]))


def test(client, secret, version):
    """Logs in with the new password."""
    if not logs_in(value(client, secret, VersionId=version, VersionStage="AWSPENDING")):
        raise ValueError("AWSPENDING does not log in")


def finish(client, secret, version):
    """Moves AWSCURRENT to the new version, unless an earlier attempt has."""
    versions = client.describe_secret(SecretId=secret)["VersionIdsToStages"]
    current = next(v for v, labels in versions.items() if "AWSCURRENT" in labels)
    if current != version:
        client.update_secret_version_stage(SecretId=secret, VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=current)


def value(client, secret, **version):
    return json.loads(client.get_secret_value(SecretId=secret, **version)["SecretString"])


def database():
    return sqlite3.connect(os.environ["DATABASE"])


def digest(user):
    return hashlib.sha256(user["password"].encode()).hexdigest()


def logs_in(user):
    with database() as db:
        return db.execute("SELECT 1 FROM users WHERE name = ? AND password = ?", (user["username"], digest(user))).fetchone() is not None
