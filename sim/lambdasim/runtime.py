# A Lambda runtime for Python: it passes each event to the handler named by its first argument.
# Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import importlib, json, os, sys, time, traceback, urllib.request

api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/"


def post(path, answer):
    urllib.request.urlopen(urllib.request.Request(api + path, answer.encode())).close()


def failure(e):
    traceback.print_exc()
    return json.dumps({"errorType": type(e).__name__, "errorMessage": str(e), "stackTrace": traceback.format_tb(e.__traceback__)})


class Context:
    function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
    function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
    memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
    log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
    log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
    identity = client_context = None

    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.deadline = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self):
        return max(0, self.deadline - int(time.time() * 1000))


try:
    module, name = sys.argv[1].rsplit(".", 1)
    sys.path.insert(0, os.path.dirname(os.path.abspath(module)))
    handler = getattr(importlib.import_module(os.path.basename(module)), name)
except Exception as e:
    post("init/error", failure(e))
    sys.exit(1)
while True:
    with urllib.request.urlopen(api + "invocation/next") as event:
        context, event = Context(event.headers), json.load(event)
    try:
        answer, path = json.dumps(handler(event, context)), "/response"
    except Exception as e:
        answer, path = failure(e), "/error"
    post("invocation/" + context.aws_request_id + path, answer)
