const { mkdtempSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const simulator = require("./simulator");

let child, client, lambda;

async function begin(...options) {
  child = await simulator.start({ DATABASE: join(mkdtempSync(join(tmpdir(), "rotation-")), "users.json") }, ...options);
  jest.resetModules(); // the function's client reads the address once
  lambda = require("./index");
  client = new (require("@aws-sdk/client-secrets-manager").SecretsManager)();
  lambda.save({ app: lambda.digest("first") });
  await client.createSecret({ Name: "app", SecretString: JSON.stringify({ username: "app", password: "first" }) });
}

afterEach(() => child.kill());

const value = async (VersionStage) => JSON.parse((await client.getSecretValue({ SecretId: "app", VersionStage })).SecretString);

test("the new password logs in", async () => {
  await begin();
  simulator.rotate("app");
  expect(lambda.logsIn(await value("AWSCURRENT"))).toBe(true);
  expect(await value("AWSPREVIOUS")).toEqual({ username: "app", password: "first" });
  expect(lambda.logsIn(await value("AWSPREVIOUS"))).toBe(false);
});

test("rotations survive faults", async () => {
  await begin("--fault=crash=0.1", "--fault=duplicate=0.2", "--fault=seed=1", "--max-attempts=50");
  for (let i = 0; i < 2; i++) {
    simulator.rotate("app");
    expect(lambda.logsIn(await value("AWSCURRENT"))).toBe(true);
  }
}, 120000);
