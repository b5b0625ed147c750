// A rotation Lambda in JavaScript for the password of a database user, here in a JSON file.
// Every step can run twice, and can be interrupted at any point.
const { createHash } = require("node:crypto");
const { readFileSync, renameSync, writeFileSync } = require("node:fs");
const { SecretsManager } = require("@aws-sdk/client-secrets-manager");

const client = new SecretsManager();

exports.handler = async ({ Step, SecretId, ClientRequestToken }) => {
  const pending = { SecretId, VersionId: ClientRequestToken, VersionStage: "AWSPENDING" };
  const current = { SecretId, VersionStage: "AWSCURRENT" };
  switch (Step) {
    case "createSecret":
      try {
        await value(pending); // an earlier attempt has stored it
      } catch (e) {
        if (e.name !== "ResourceNotFoundException") throw e;
        const { RandomPassword } = await client.getRandomPassword({ ExcludePunctuation: true });
        const SecretString = JSON.stringify({ ...(await value(current)), password: RandomPassword });
        await client.putSecretValue({ SecretId, ClientRequestToken, SecretString, VersionStages: ["AWSPENDING"] });
      }
      break;
    case "setSecret": {
      const user = await value(pending);
      if (logsIn(user)) break; // an earlier attempt has set it
      if (!logsIn(await value(current))) throw new Error("neither AWSPENDING nor AWSCURRENT logs in");
      save({ ...users(), [user.username]: digest(user.password) });
      break;
    }
    case "testSecret":
      if (!logsIn(await value(pending))) throw new Error("AWSPENDING does not log in");
      break;
    case "finishSecret": {
      const { VersionIdsToStages } = await client.describeSecret({ SecretId });
      const [from] = Object.entries(VersionIdsToStages).find(([, labels]) => labels.includes("AWSCURRENT"));
      if (from === ClientRequestToken) break; // an earlier attempt has moved it
      await client.updateSecretVersionStage({ SecretId, VersionStage: "AWSCURRENT", MoveToVersionId: ClientRequestToken, RemoveFromVersionId: from });
    }
  }
};

const value = async (version) => JSON.parse((await client.getSecretValue(version)).SecretString);
const digest = (password) => createHash("sha256").update(password).digest("hex");
const users = () => JSON.parse(readFileSync(process.env.DATABASE));
const logsIn = exports.logsIn = ({ username, password }) => users()[username] === digest(password);
const save = exports.save = (all) => {
  writeFileSync(process.env.DATABASE + ".new", JSON.stringify(all));
  renameSync(process.env.DATABASE + ".new", process.env.DATABASE); // a reader sees the old file or the new
};
exports.digest = digest;
