# Plans of the module, by `terraform test` from 1.7 on. AWS is not asked: the provider
# is a mock of its own schema.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
}

variables {
  zip = "main.tf" # any file serves for a plan
}

run "nothing_asked_for" {
  command = plan

  assert {
    condition     = [for s in data.aws_iam_policy_document.rotate.statement : s.sid] == ["SecretsThatNameThisFunction", "Log"]
    error_message = "The role may more than to rotate and to log."
  }
  assert {
    condition = alltrue([for s in data.aws_iam_policy_document.rotate.statement : s.resources == toset([
    "arn:aws:secretsmanager:eu-central-1:111122223333:secret:*"]) if s.sid == "SecretsThatNameThisFunction"])
    error_message = "The secrets are not those of the account and region."
  }
  assert {
    condition = alltrue([for s in data.aws_iam_policy_document.rotate.statement : one(s.condition).values == tolist([
    "arn:aws:lambda:eu-central-1:111122223333:function:rotator"]) if s.sid == "SecretsThatNameThisFunction"])
    error_message = "The secrets are not those that name this function."
  }
  assert {
    condition     = aws_lambda_permission.secretsmanager.source_account == "111122223333" && length(aws_lambda_permission.secrets_account) == 0
    error_message = "Another account may call the function."
  }
  assert {
    condition     = aws_lambda_function.this.timeout == 60
    error_message = "The time for a step is another."
  }
  assert {
    condition     = length(aws_lambda_function.this.vpc_config) == 0
    error_message = "The function is in a VPC."
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.cause) + length(aws_cloudwatch_metric_alarm.error) + length(aws_cloudwatch_event_rule.rotation_failed) == 0
    error_message = "There are alarms that tell nobody."
  }
  assert {
    condition     = length(aws_lambda_function.this.environment[0].variables) == 0
    error_message = "A variable that nobody set reaches the function."
  }
}

run "one_secret_and_its_user" {
  command = plan

  variables {
    elasticache_user_arns = ["arn:aws:elasticache:eu-central-1:111122223333:user:app"]
    memorydb_user_arns    = ["arn:aws:memorydb:eu-central-1:111122223333:user/app"]
    settings              = { SECRET_ARN = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app-AbCdEf", USER_NAME = "app" }
  }

  assert {
    condition     = alltrue([for s in data.aws_iam_policy_document.rotate.statement : length(s.condition) == 0 if contains(["ElastiCacheUserPasswords", "MemoryDbUserPasswords"], s.sid)])
    error_message = "A user that the function's variables name needs a tag."
  }
}

run "everything_asked_for" {
  command = apply # the dashboard names the log group, which a plan does not know

  variables {
    vpc_subnet_ids                = ["subnet-0123456789abcdef0"]
    vpc_security_group_ids        = ["sg-0123456789abcdef0"]
    kms_key_arns                  = ["arn:aws:kms:eu-central-1:111122223333:key/1", "arn:aws:kms:eu-central-1:111122223333:key/2"]
    superuser_secret_arns         = ["arn:aws:secretsmanager:eu-central-1:111122223333:secret:superuser-AbCdEf"]
    redshift_superusers           = "true"
    elasticache_user_arns         = ["arn:aws:elasticache:eu-central-1:111122223333:user:app"]
    memorydb_user_arns            = ["arn:aws:memorydb:eu-central-1:111122223333:user/app"]
    influxdb_instance_arns        = ["arn:aws:timestream-influxdb:eu-central-1:111122223333:db-instance/abc"]
    directory_arns                = ["arn:aws:ds:eu-central-1:111122223333:directory/d-0123456789"]
    iam_user_arns                 = ["arn:aws:iam::111122223333:user/app"]
    rotation_role_arn             = "arn:{partition}:iam::{account}:role/rotator"
    rotation_role_external_id     = "any"
    rotation_role_organization_id = "o-exampleorg1"
    secrets_account_ids           = ["444455556666", "777788889999"]
    alarm_topic_arn               = "arn:aws:sns:eu-central-1:111122223333:alarms"
    tracing                       = "Active"
    password_length               = "40"
    settings                      = { REDIS_TRUSTED_NODES = "10.0.3.0/24", EXCLUDE_NUMBERS = true, HTTP_RECIPES = { shop = {} } }
    log_level                     = "WARN"
    timeout                       = 900
  }

  # What each statement is about.
  assert {
    condition = { for s in data.aws_iam_policy_document.rotate.statement : s.sid => join(" ", sort(s.resources)) if s.sid != "Log" } == {
      SecretsThatNameThisFunction   = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:*"
      SuperuserSecrets              = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:superuser-AbCdEf"
      HostsOfSuperusers             = "arn:aws:rds:eu-central-1:111122223333:cluster:* arn:aws:rds:eu-central-1:111122223333:db:*"
      RedshiftHostsOfSuperusers     = "*"
      ElastiCacheUsers              = "arn:aws:elasticache:eu-central-1:111122223333:user:app"
      ElastiCacheUserPasswords      = "arn:aws:elasticache:eu-central-1:111122223333:user:app"
      MemoryDbUsers                 = "arn:aws:memorydb:eu-central-1:111122223333:user/app"
      MemoryDbUserPasswords         = "arn:aws:memorydb:eu-central-1:111122223333:user/app"
      InfluxDbInstances             = "arn:aws:timestream-influxdb:eu-central-1:111122223333:db-instance/abc"
      Directories                   = "*"
      DirectoryPasswords            = "arn:aws:ds:eu-central-1:111122223333:directory/d-0123456789"
      IamUsers                      = "arn:aws:iam::111122223333:user/app"
      IamUsersIntent                = "arn:aws:iam::111122223333:user/app"
      KeysOfTheSecrets              = "arn:aws:kms:eu-central-1:111122223333:key/1 arn:aws:kms:eu-central-1:111122223333:key/2"
      RoleOfTheSecretsAccounts      = "arn:*:iam::*:role/rotator"
      NetworkInterfaces             = "*"
      NetworkInterfacesNotByTheCode = "*"
      Traces                        = "*"
    }
    error_message = "A statement is missing, one too many, or about something else."
  }
  # Whose a cache's user is is read from its tags.
  assert {
    condition = { for s in data.aws_iam_policy_document.rotate.statement : s.sid => join(" ", sort(s.actions)) if contains(["ElastiCacheUsers", "ElastiCacheUserPasswords", "MemoryDbUsers", "MemoryDbUserPasswords"], s.sid) } == {
      ElastiCacheUsers         = "elasticache:DescribeUsers elasticache:ListTagsForResource"
      ElastiCacheUserPasswords = "elasticache:ModifyUser"
      MemoryDbUsers            = "memorydb:DescribeUsers memorydb:ListTags"
      MemoryDbUserPasswords    = "memorydb:UpdateUser"
    }
    error_message = "The function may do something else with users of caches."
  }
  assert {
    condition     = alltrue([for s in data.aws_iam_policy_document.rotate.statement : s.resources == toset(["${aws_cloudwatch_log_group.this.arn}:*"]) if s.sid == "Log"])
    error_message = "The function may write to another log."
  }
  # And under which conditions.
  assert {
    condition = { for s in data.aws_iam_policy_document.rotate.statement : s.sid => join("; ", sort([for c in s.condition : join(" ", concat([c.test, c.variable], c.values))])) if length(s.condition) > 0 } == {
      SecretsThatNameThisFunction   = "StringEquals secretsmanager:resource/AllowRotationLambdaArn arn:aws:lambda:eu-central-1:111122223333:function:rotator"
      IamUsersIntent                = "ForAllValues:StringEquals aws:TagKeys rotator:intent"
      ElastiCacheUserPasswords      = "StringLike aws:ResourceTag/rotator:secret arn:aws:secretsmanager:*:111122223333:secret:*"
      MemoryDbUserPasswords         = "StringLike aws:ResourceTag/rotator:secret arn:aws:secretsmanager:*:111122223333:secret:*"
      KeysOfTheSecrets              = "StringEquals kms:ViaService secretsmanager.eu-central-1.amazonaws.com; StringLike kms:EncryptionContext:SecretARN arn:aws:secretsmanager:eu-central-1:111122223333:secret:*"
      RoleOfTheSecretsAccounts      = "StringEquals aws:ResourceOrgID o-exampleorg1"
      NetworkInterfacesNotByTheCode = "ArnEquals lambda:SourceFunctionArn arn:aws:lambda:eu-central-1:111122223333:function:rotator"
    }
    error_message = "A statement has another condition."
  }
  assert {
    condition     = toset([for p in aws_lambda_permission.secrets_account : p.source_account]) == toset(["444455556666", "777788889999"])
    error_message = "The other accounts may not call the function."
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.cause)) == toset(["LoginRefusedAlarm", "TargetUnreachableAlarm", "ChangeRefusedAlarm", "SecretUnfitAlarm", "FunctionHinderedAlarm"])
    error_message = "A group of causes has no alarm."
  }
  assert {
    condition     = alltrue([for a in aws_cloudwatch_metric_alarm.cause : a.alarm_actions == toset(["arn:aws:sns:eu-central-1:111122223333:alarms"])])
    error_message = "An alarm notifies nobody."
  }
  assert {
    condition = alltrue(flatten([for a in aws_cloudwatch_metric_alarm.cause : [for q in a.metric_query : [for m in q.metric :
    keys(m.dimensions) == tolist(["cause", "function_name"]) && m.dimensions.function_name == "rotator"]]]))
    error_message = "An alarm also watches other functions."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.clients_refused[0].dimensions == tomap({ function_name = "rotator" })
    error_message = "Nobody hears that clients are refused by this function's targets."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.rotation_failed[0].event_pattern).detail.eventName == ["RotationFailed", "RotationAbandoned", "TestRotationFailed"]
    error_message = "The rule looks for other events."
  }
  assert {
    condition = length([for w in jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets : w
    if w.type == "log" || strcontains(try(w.properties.metrics[0][0].expression, ""), "function_name=\"rotator\"")]) == 9
    error_message = "The dashboard is no JSON, lacks a widget or shows other functions."
  }
  assert {
    condition     = jsondecode(aws_lambda_function.this.environment[0].variables["ROTATOR_SETTINGS"]) == { REDIS_TRUSTED_NODES = "10.0.3.0/24", EXCLUDE_NUMBERS = true, HTTP_RECIPES = { shop = {} } }
    error_message = "The settings do not reach the function."
  }
  assert {
    condition     = aws_lambda_function.this.timeout == 900 && aws_lambda_function.this.logging_config[0].application_log_level == "WARN"
    error_message = "The timeout or the log level is another."
  }
  assert {
    condition     = one(aws_lambda_function.this.vpc_config).subnet_ids == toset(["subnet-0123456789abcdef0"])
    error_message = "The function is not in its subnet."
  }
  assert {
    condition     = aws_lambda_function.this.environment[0].variables.PASSWORD_LENGTH == "40" && aws_lambda_function.this.environment[0].variables.ROTATION_ROLE_ARN == "arn:{partition}:iam::{account}:role/rotator"
    error_message = "A setting does not reach the function."
  }
}

run "alarms_without_metrics" {
  command = plan

  variables {
    alarm_topic_arn = "arn:aws:sns:eu-central-1:111122223333:alarms"
    settings        = { METRICS = "off" }
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.cause) + length(aws_cloudwatch_metric_alarm.clients_refused) + length(aws_cloudwatch_dashboard.this) == 0 && length(aws_cloudwatch_metric_alarm.error) == 1 && length(aws_cloudwatch_metric_alarm.rotation_failed) == 1
    error_message = "An alarm waits for a metric that is off."
  }
}

run "values_that_are_refused" {
  command = plan

  variables {
    architecture                  = "i386"
    memory_size                   = 64
    timeout                       = 901
    password_length               = "-1"
    settings                      = "ENGINE=postgres"
    log_level                     = "LOUD"
    secrets_account_ids           = ["12345"]
    reserved_concurrency          = -2
    log_retention_days            = 2
    rotation_role_organization_id = "org"
  }

  expect_failures = [
    var.architecture, var.memory_size, var.timeout, var.password_length, var.settings, var.log_level,
    var.secrets_account_ids, var.reserved_concurrency, var.log_retention_days, var.rotation_role_organization_id,
  ]
}

# Lambda refuses this: the function would otherwise be outside the VPC.
run "security_groups_alone" {
  command = plan

  variables {
    vpc_security_group_ids = ["sg-0123456789abcdef0"]
  }
  assert {
    condition     = length(aws_lambda_function.this.vpc_config) == 1
    error_message = "The security groups are dropped without an error."
  }
}
