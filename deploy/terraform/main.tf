# The rotation function as a Terraform module. It takes the zip of a release, or
# one made of build/bootstrap.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40, < 7"
    }
  }
}

data "aws_caller_identity" "this" {}
data "aws_region" "this" {}
data "aws_partition" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  region    = data.aws_region.this.id
  partition = data.aws_partition.this.partition
  suffix    = data.aws_partition.this.dns_suffix
  # Made of its parts, because the function's own attribute would depend on the
  # role that this stands in.
  function_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}"
  secrets      = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:*"
  # A user of ElastiCache or MemoryDB takes minutes to become active.
  timeout = var.timeout != "" ? tonumber(var.timeout) : length(var.elasticache_user_arns) + length(var.memorydb_user_arns) > 0 ? 900 : 60

  environment = {
    CA_BUNDLE                              = var.ca_bundle
    ALLOW_PLAINTEXT_FALLBACK               = var.allow_plaintext_fallback
    EXCLUDE_CHARACTERS                     = var.exclude_characters
    EXCLUDE_LOWERCASE                      = var.exclude_lowercase
    EXCLUDE_NUMBERS                        = var.exclude_numbers
    EXCLUDE_PUNCTUATION                    = var.exclude_punctuation
    EXCLUDE_UPPERCASE                      = var.exclude_uppercase
    USERNAME_CHARACTER_LIMIT               = var.username_character_limit
    ENGINE                                 = var.engine
    IAM_BY_ROLE                            = var.iam_by_role
    HTTP_RECIPES                           = var.http_recipes
    SECRET_ARN                             = var.secret_arn
    USER_NAME                              = var.user_name
    MAX_WAITING_TIME_FOR_ACTIVE_IN_SECONDS = var.max_waiting_time_for_active_in_seconds
    WAITING_RETRY_INTERVAL_IN_SECONDS      = var.waiting_retry_interval_in_seconds
    ROTATOR_REDIS_NODES                    = var.redis_nodes
    ROTATOR_REDIS_PERSIST                  = var.redis_persist
    REDIS_TRUSTED_NODES                    = var.redis_trusted_nodes
    ROTATOR_LDAP_CHANGE                    = var.ldap_change
    ROTATOR_LDAP_STARTTLS                  = var.ldap_starttls
    ROTATOR_GENERIC_KIND                   = var.generic_kind
    ROTATOR_GENERIC_FIELD                  = var.generic_field
    ROTATOR_GENERIC_BYTES                  = var.generic_bytes
    ROTATOR_GENERIC_ENCODING               = var.generic_encoding
    STRATEGY                               = var.strategy
    RECOVER_BY_SUPERUSER                   = var.recover_by_superuser
    ADOPT_PAIRS                            = var.adopt_pairs
    SECRETS_MANAGER_ENDPOINT               = var.secrets_manager_endpoint
    PASSWORD_LENGTH                        = var.password_length
    REQUIRE_EACH_INCLUDED_TYPE             = var.require_each_included_type
    RETIRE                                 = var.retire
    METRICS                                = var.metrics
    ROTATION_ROLE_ARN                      = var.rotation_role_arn
    ROTATION_ROLE_EXTERNAL_ID              = var.rotation_role_external_id
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "rotate" {
  statement {
    sid = "SecretsThatNameThisFunction"
    actions = [
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "secretsmanager:UpdateSecretVersionStage",
      "secretsmanager:ListSecretVersionIds",
    ]
    resources = [local.secrets]
    condition {
      test     = "StringEquals"
      variable = "secretsmanager:resource/AllowRotationLambdaArn"
      values   = [local.function_arn]
    }
  }

  dynamic "statement" {
    for_each = length(var.superuser_secret_arns) > 0 ? [1] : []
    content {
      sid       = "SuperuserSecrets"
      actions   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
      resources = var.superuser_secret_arns
    }
  }

  dynamic "statement" {
    for_each = length(var.superuser_secret_arns) > 0 ? [1] : []
    content {
      sid     = "HostsOfSuperusers"
      actions = ["rds:DescribeDBInstances", "rds:DescribeDBClusters"]
      resources = [
        "arn:${local.partition}:rds:${local.region}:${local.account}:db:*",
        "arn:${local.partition}:rds:${local.region}:${local.account}:cluster:*",
      ]
    }
  }

  # These list what an account has, and take no ARN.
  dynamic "statement" {
    for_each = length(var.superuser_secret_arns) > 0 && var.redshift_superusers == "true" ? [1] : []
    content {
      sid       = "RedshiftHostsOfSuperusers"
      actions   = ["redshift:DescribeClusters", "redshift-serverless:ListNamespaces", "redshift-serverless:ListWorkgroups"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = length(var.elasticache_user_arns) > 0 ? [1] : []
    content {
      sid       = "ElastiCacheUsers"
      actions   = ["elasticache:DescribeUsers", "elasticache:ListTagsForResource"]
      resources = var.elasticache_user_arns
    }
  }

  dynamic "statement" {
    for_each = length(var.elasticache_user_arns) > 0 ? [1] : []
    content {
      sid       = "ElastiCacheUserPasswords"
      actions   = ["elasticache:ModifyUser"]
      resources = var.elasticache_user_arns
      dynamic "condition" {
        for_each = var.secret_arn == "" ? [1] : [] # which names the user without a tag
        content {
          test     = "StringLike"
          variable = "aws:ResourceTag/rotator:secret"
          values   = ["arn:${local.partition}:secretsmanager:*:${local.account}:secret:*"]
        }
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.memorydb_user_arns) > 0 ? [1] : []
    content {
      sid       = "MemoryDbUsers"
      actions   = ["memorydb:DescribeUsers", "memorydb:ListTags"]
      resources = var.memorydb_user_arns
    }
  }

  dynamic "statement" {
    for_each = length(var.memorydb_user_arns) > 0 ? [1] : []
    content {
      sid       = "MemoryDbUserPasswords"
      actions   = ["memorydb:UpdateUser"]
      resources = var.memorydb_user_arns
      dynamic "condition" {
        for_each = var.secret_arn == "" ? [1] : [] # which names the user without a tag
        content {
          test     = "StringLike"
          variable = "aws:ResourceTag/rotator:secret"
          values   = ["arn:${local.partition}:secretsmanager:*:${local.account}:secret:*"]
        }
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.influxdb_instance_arns) > 0 ? [1] : []
    content {
      sid       = "InfluxDbInstances"
      actions   = ["timestream-influxdb:GetDbInstance"]
      resources = var.influxdb_instance_arns
    }
  }

  dynamic "statement" {
    for_each = length(var.iam_user_arns) > 0 ? [1] : []
    content {
      sid       = "IamUsers"
      actions   = ["iam:ListAccessKeys", "iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey", "iam:ListUserTags"]
      resources = var.iam_user_arns
    }
  }

  dynamic "statement" {
    for_each = length(var.iam_user_arns) > 0 ? [1] : []
    content {
      sid       = "IamUsersIntent"
      actions   = ["iam:TagUser"]
      resources = var.iam_user_arns
      condition {
        test     = "ForAllValues:StringEquals"
        variable = "aws:TagKeys"
        values   = ["rotator:intent"]
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.kms_key_arns) > 0 ? [1] : []
    content {
      sid       = "KeysOfTheSecrets"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = var.kms_key_arns
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["secretsmanager.${local.region}.${local.suffix}"]
      }
      condition {
        test     = "StringLike"
        variable = "kms:EncryptionContext:SecretARN"
        values   = [local.secrets]
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.superuser_secret_arns) > 0 && length(var.superuser_kms_key_arns) > 0 ? [1] : []
    content {
      sid       = "KeysOfSuperusers"
      actions   = ["kms:Decrypt"]
      resources = var.superuser_kms_key_arns
      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["secretsmanager.${local.region}.${local.suffix}"]
      }
      condition {
        test     = "StringLike"
        variable = "kms:EncryptionContext:SecretARN"
        values   = var.superuser_secret_arns
      }
    }
  }

  dynamic "statement" {
    for_each = var.rotation_role_arn == "" ? [] : [1]
    content {
      sid       = "RoleOfTheSecretsAccounts"
      actions   = ["sts:AssumeRole"]
      resources = [replace(replace(var.rotation_role_arn, "{account}", "*"), "{partition}", "*")]
      dynamic "condition" {
        for_each = var.rotation_role_organization_id == "" ? [] : [1]
        content {
          test     = "StringEquals"
          variable = "aws:ResourceOrgID"
          values   = [var.rotation_role_organization_id]
        }
      }
    }
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }

  # By these Lambda puts the function into the VPC; the code itself may not use them.
  dynamic "statement" {
    for_each = length(var.vpc_subnet_ids) > 0 ? [1] : []
    content {
      sid       = "NetworkInterfaces"
      actions   = ["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = length(var.vpc_subnet_ids) > 0 ? [1] : []
    content {
      sid       = "NetworkInterfacesNotByTheCode"
      effect    = "Deny"
      actions   = ["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
      resources = ["*"]
      condition {
        test     = "ArnEquals"
        variable = "lambda:SourceFunctionArn"
        values   = [local.function_arn]
      }
    }
  }

  dynamic "statement" {
    for_each = var.tracing == "Active" ? [1] : []
    content {
      sid       = "Traces"
      actions   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
      resources = ["*"]
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = var.name
  description          = "Of the function that rotates secrets."
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn == "" ? null : var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "rotate" {
  name   = "rotate"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.rotate.json
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  function_name                  = var.name
  description                    = "Rotates secrets; called by Secrets Manager."
  role                           = aws_iam_role.this.arn
  filename                       = var.zip
  source_code_hash               = filebase64sha256(var.zip)
  handler                        = "bootstrap"
  runtime                        = "provided.al2023"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_size
  timeout                        = local.timeout
  reserved_concurrent_executions = var.reserved_concurrency
  code_signing_config_arn        = var.code_signing_config_arn == "" ? null : var.code_signing_config_arn

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.this.name
  }

  tracing_config {
    mode = var.tracing
  }

  environment {
    # An empty variable counts as not set; Lambda bounds the size of all.
    variables = { for name, value in local.environment : name => value if value != "" }
  }

  dynamic "vpc_config" {
    for_each = length(var.vpc_subnet_ids) > 0 ? [1] : []
    content {
      subnet_ids         = var.vpc_subnet_ids
      security_group_ids = var.vpc_security_group_ids
    }
  }
}

resource "aws_lambda_permission" "secretsmanager" {
  statement_id   = "secretsmanager"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this.function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account
}

# Secrets Manager of another account calls for that account's secrets.
resource "aws_lambda_permission" "secrets_account" {
  for_each       = var.secrets_account_ids
  statement_id   = "secrets-${each.value}"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this.function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = each.value
}
