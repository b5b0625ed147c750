// Starts a simulator that rotates with index.handler, and points this process at it.
const { execFileSync, spawn } = require("node:child_process");
const { createInterface } = require("node:readline");

const FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:rotation";

exports.start = async (env = {}, ...options) => {
  const variables = Object.entries(env).map(([name, value]) => `--env=${name}=${value}`);
  const child = spawn("rotatorctl", ["sim", "--listen=127.0.0.1:0", "--retry-delay=100ms", `--function=${FUNCTION}=node:index.handler`, ...variables, ...options],
    { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface(child.stdout)) {
    const url = line.split("simulator ready at ")[1];
    Object.assign(process.env, env, { AWS_ENDPOINT_URL_SECRETS_MANAGER: url, AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" });
    return child;
  }
};

exports.rotate = (secret) => execFileSync("rotatorctl", ["rotate", secret, "--function", FUNCTION, "--timeout", "1m"], { env: process.env });
