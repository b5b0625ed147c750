// A Lambda runtime for Node.js: it passes each event to the async handler named by its argument.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";

const env = process.env, api = `http://${env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/`;
const post = (path, answer) => fetch(api + path, { method: "POST", body: JSON.stringify(answer ?? null) });
const failure = (e) => {
  console.error(e);
  return { errorType: e?.name ?? "Error", errorMessage: String(e?.message ?? e), trace: String(e?.stack ?? "").split("\n") };
};

let handler;
try {
  const [, file, name] = /^(.+)\.([^.]+)$/.exec(process.argv[1]);
  const path = [".js", ".mjs", ".cjs"].map((end) => file + end).find(existsSync);
  if (!path) throw new Error(`there is no ${file}.js, .mjs or .cjs`);
  const module = await import(pathToFileURL(path));
  handler = module[name] ?? module.default[name];
} catch (e) {
  await post("init/error", failure(e));
  process.exit(1);
}
for (;;) {
  const next = await fetch(api + "invocation/next");
  const id = next.headers.get("lambda-runtime-aws-request-id"), deadline = next.headers.get("lambda-runtime-deadline-ms");
  const context = {
    awsRequestId: id, invokedFunctionArn: next.headers.get("lambda-runtime-invoked-function-arn"),
    functionName: env.AWS_LAMBDA_FUNCTION_NAME, functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE, logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME, logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
  try {
    await post(`invocation/${id}/response`, await handler(await next.json(), context));
  } catch (e) {
    await post(`invocation/${id}/error`, failure(e));
  }
}
