# The alarms and the dashboard of deploy/monitoring.yaml, and the rule of template.yaml.

locals {
  alarm_actions = var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]
  metrics       = !contains(["off", "false", "no", "n", "0"], lower(try(tostring(var.settings.METRICS), "on")))

  # Every cause that the function reports is in one of these alarms, which watch only this
  # function's metrics.
  causes = {
    LoginRefusedAlarm = {
      description = "A target refuses a credential. If it refuses AWSCURRENT, clients are refused as well, as rotatorctl check shows. The function's log names the secret."
      causes      = ["LoginRefused"]
    }
    TargetUnreachableAlarm = {
      description = "A target cannot be reached or did not prove its identity. Check routes, security groups and certificates. The function's log names the secret."
      causes      = ["NameNotResolved", "Unreachable", "TLSFailed"]
    }
    ChangeRefusedAlarm = {
      description = "A target accepts the login but not the change of the credential. Check the user's privileges and the password rules. The function's log names the secret."
      causes      = ["PrivilegeMissing", "PolicyRejected", "TakeoverRefused", "Locked", "TargetFailed"]
    }
    SecretUnfitAlarm = {
      description = "A secret, its labels or the settings of the function do not fit a rotation. The function's log names them."
      causes      = ["InvalidEvent", "InvalidConfiguration", "InvalidSecret", "RotationDisabled", "VersionNotStaged", "SecretEdited"]
    }
    FunctionHinderedAlarm = {
      description = "AWS, the timeout or the function itself kept a step from completing. The function's log says which."
      causes      = ["SecretsManagerFailed", "OutOfTime", "Unsettled", "InternalError"]
    }
  }
}

# Secrets Manager reports a failed rotation through CloudTrail, so the account needs
# a trail that records management events.
resource "aws_cloudwatch_event_rule" "rotation_failed" {
  count       = length(local.alarm_actions)
  name        = "${var.name}-rotation-failed"
  description = "Reports rotations that failed or were abandoned."
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["AWS Service Event via CloudTrail"]
    detail      = { eventName = ["RotationFailed", "RotationAbandoned", "TestRotationFailed"] }
  })
}

resource "aws_cloudwatch_event_target" "rotation_failed" {
  count     = length(local.alarm_actions)
  rule      = aws_cloudwatch_event_rule.rotation_failed[0].name
  target_id = "topic"
  arn       = var.alarm_topic_arn
}

# The rule sends what happened to which secret. The alarm shows the failure where people look for
# alarms.
resource "aws_cloudwatch_metric_alarm" "rotation_failed" {
  count               = length(local.alarm_actions)
  alarm_name          = "${var.name}-RotationFailedAlarm"
  alarm_description   = "A rotation failed or was abandoned. The event in CloudTrail names the secret."
  namespace           = "AWS/Events"
  metric_name         = "TriggeredRules"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.rotation_failed[0].name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
}

resource "aws_cloudwatch_metric_alarm" "error" {
  count               = length(local.alarm_actions)
  alarm_name          = "${var.name}-ErrorAlarm"
  alarm_description   = "A step of a rotation failed. See the function's log and the metric Failures by cause."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "clients_refused" {
  count               = length(local.alarm_actions) > 0 && local.metrics ? 1 : 0
  alarm_name          = "${var.name}-ClientsRefusedAlarm"
  alarm_description   = "Clients are being refused now. A target refused the AWSCURRENT of a secret, and the step ended before that changed. The function's log names the secret."
  namespace           = "Rotator"
  metric_name         = "CurrentRefused"
  dimensions          = { function_name = aws_lambda_function.this.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "cause" {
  for_each            = length(local.alarm_actions) > 0 && local.metrics ? local.causes : {}
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions

  metric_query {
    id          = "failures"
    expression  = "SUM(METRICS())"
    label       = join(", ", each.value.causes)
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.causes
    content {
      id = "m${metric_query.key + 1}"
      metric {
        namespace   = "Rotator"
        metric_name = "Failures"
        dimensions  = { function_name = aws_lambda_function.this.function_name, cause = metric_query.value }
        stat        = "Sum"
        period      = 300
      }
    }
  }
}

resource "aws_cloudwatch_dashboard" "this" {
  count          = local.metrics ? 1 : 0
  dashboard_name = var.name
  dashboard_body = <<-EOT
    {"widgets": [
      {"type": "metric", "x": 0, "y": 0, "width": 12, "height": 6, "properties": {"title": "Rotations", "region": "${local.region}", "stat": "Sum", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,engine} MetricName=\"Rotations\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Sum', 3600)"}]]}},
      {"type": "metric", "x": 12, "y": 0, "width": 12, "height": 6, "properties": {"title": "Failures by cause", "region": "${local.region}", "stat": "Sum", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,cause} MetricName=\"Failures\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Sum', 3600)"}]]}},
      {"type": "metric", "x": 0, "y": 6, "width": 12, "height": 6, "properties": {"title": "Duration of steps (ms)", "region": "${local.region}", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,engine,step} MetricName=\"Duration\" function_name=\"${aws_lambda_function.this.function_name}\"', 'p90', 3600)"}]]}},
      {"type": "metric", "x": 12, "y": 6, "width": 12, "height": 6, "properties": {"title": "From pending to current (ms)", "region": "${local.region}", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,engine} MetricName=\"Window\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Maximum', 3600)"}]]}},
      {"type": "metric", "x": 0, "y": 12, "width": 12, "height": 6, "properties": {"title": "Refused logins", "region": "${local.region}", "stat": "Sum", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,engine,step} MetricName=\"RefusedLogins\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Sum', 3600)"}]]}},
      {"type": "metric", "x": 12, "y": 12, "width": 12, "height": 6, "properties": {"title": "Age of credentials when a rotation was tried (s)", "region": "${local.region}", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,engine} MetricName=\"CredentialAge\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Maximum', 3600)"}]]}},
      {"type": "metric", "x": 0, "y": 18, "width": 12, "height": 6, "properties": {"title": "Clients refused, from the change to the promotion (ms)", "region": "${local.region}", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name,engine} MetricName=\"Gap\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Maximum', 3600)"}]]}},
      {"type": "metric", "x": 12, "y": 18, "width": 12, "height": 6, "properties": {"title": "Steps that ended while AWSCURRENT was refused", "region": "${local.region}", "stat": "Sum", "period": 3600,
        "metrics": [[{"expression": "SEARCH('{Rotator,function_name} MetricName=\"CurrentRefused\" function_name=\"${aws_lambda_function.this.function_name}\"', 'Sum', 3600)"}]]}},
      {"type": "log", "x": 0, "y": 24, "width": 24, "height": 6, "properties": {"title": "Last failures", "region": "${local.region}",
        "query": "SOURCE '${aws_cloudwatch_log_group.this.name}' | fields @timestamp, secret, step, cause, error | filter message in ['step failed', 'event not handled'] | sort @timestamp desc | limit 20"}}
    ]}
  EOT
}
