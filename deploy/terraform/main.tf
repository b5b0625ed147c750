# The rotation function as a Terraform module. It takes a release's zip, or one of build/bootstrap.

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
  # Composed, because the function's own attribute would depend on the role that uses this.
  function_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}"
  secrets      = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:*"

  # With only one of the two, Lambda refuses the function.
  in_vpc = length(var.vpc_subnet_ids) + length(var.vpc_security_group_ids) > 0

  environment = {
    EXCLUDE_CHARACTERS        = var.exclude_characters
    PASSWORD_LENGTH           = var.password_length
    ROTATION_ROLE_ARN         = var.rotation_role_arn
    ROTATION_ROLE_EXTERNAL_ID = var.rotation_role_external_id
    ROTATOR_SETTINGS          = length(var.settings) > 0 ? jsonencode(var.settings) : ""
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

  # These list what an account has and do not support ARNs.
  dynamic "statement" {
    for_each = var.redshift_superusers == "true" ? [1] : []
    content {
      sid       = "RedshiftHostsOfSuperusers"
      actions   = ["redshift:DescribeClusters", "redshift-serverless:ListNamespaces", "redshift-serverless:ListWorkgroups"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = length(var.directory_arns) > 0 ? [1] : []
    content {
      sid       = "Directories"
      actions   = ["ds:DescribeDirectories"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = length(var.directory_arns) > 0 ? [1] : []
    content {
      sid       = "DirectoryPasswords"
      actions   = ["ds:ResetUserPassword"]
      resources = var.directory_arns
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
        for_each = can(var.settings.SECRET_ARN) ? [] : [1] # the setting names the secret, so users need no tag
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
        for_each = can(var.settings.SECRET_ARN) ? [] : [1] # the setting names the secret, so users need no tag
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
      actions   = ["iam:ListAccessKeys", "iam:CreateAccessKey", "iam:DeleteAccessKey", "iam:ListUserTags"]
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

  # Lambda itself uses these to attach the function to the VPC; the code may not.
  dynamic "statement" {
    for_each = local.in_vpc ? [1] : []
    content {
      sid       = "NetworkInterfaces"
      actions   = ["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = local.in_vpc ? [1] : []
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
  description          = "Role of the function that rotates secrets."
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
  description                    = "Rotates secrets. Called by Secrets Manager."
  role                           = aws_iam_role.this.arn
  filename                       = var.zip
  source_code_hash               = filebase64sha256(var.zip)
  handler                        = "bootstrap"
  runtime                        = "provided.al2023"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrency

  logging_config {
    log_format            = "JSON"
    application_log_level = var.log_level
    log_group             = aws_cloudwatch_log_group.this.name
  }

  tracing_config {
    mode = var.tracing
  }

  environment {
    # An empty variable counts as unset. Lambda limits the total size.
    variables = { for name, value in local.environment : name => value if value != "" }
  }

  dynamic "vpc_config" {
    for_each = local.in_vpc ? [1] : []
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

# Secrets Manager in another account calls the function for that account's secrets.
resource "aws_lambda_permission" "secrets_account" {
  for_each       = var.secrets_account_ids
  statement_id   = "secrets-${each.value}"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this.function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = each.value
}
