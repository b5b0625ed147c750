# The role that lets a rotation function in another account rotate secrets in this one, as in
# deploy/cross-account-role.yaml. Create one in each account with secrets.

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
  secrets   = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:*"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [var.function_role_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = [var.external_id]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalOrgID"
      values   = [var.organization_id]
    }
  }
}

data "aws_iam_policy_document" "rotate" {
  statement {
    sid = "SecretsThatNameTheFunction"
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
      values   = [var.function_arn]
    }
  }

  # Same as in the function's module, for resources in this account.
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
    for_each = length(var.superuser_secret_arns) > 0 && var.redshift_superusers == "true" ? [1] : []
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
      condition {
        test     = "StringLike"
        variable = "aws:ResourceTag/rotator:secret"
        values   = ["arn:${local.partition}:secretsmanager:*:${local.account}:secret:*"]
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
      condition {
        test     = "StringLike"
        variable = "aws:ResourceTag/rotator:secret"
        values   = ["arn:${local.partition}:secretsmanager:*:${local.account}:secret:*"]
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
}

resource "aws_iam_role" "this" {
  name                 = var.role_name
  description          = "Assumed by the rotation function of another account."
  max_session_duration = 3600
  assume_role_policy   = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "rotate" {
  name   = "rotate"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.rotate.json
}

output "role_arn" {
  description = "The function's rotation_role_arn as resolved for this account."
  value       = aws_iam_role.this.arn
}
