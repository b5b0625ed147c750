# Plans of the module, by `terraform test` from 1.7 on. AWS is not asked: the provider
# is a mock of its own schema.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "444455556666" }
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
  function_role_arn = "arn:aws:iam::111122223333:role/rotator"
  function_arn      = "arn:aws:lambda:eu-central-1:111122223333:function:rotator"
  external_id       = "external"
  organization_id   = "o-exampleorg1"
}

run "nothing_asked_for" {
  command = plan

  assert {
    condition     = [for s in data.aws_iam_policy_document.rotate.statement : "${s.sid} ${join(" ", s.resources)} ${one(s.condition).variable} ${one(one(s.condition).values)}"] == ["SecretsThatNameTheFunction arn:aws:secretsmanager:eu-central-1:444455556666:secret:* secretsmanager:resource/AllowRotationLambdaArn arn:aws:lambda:eu-central-1:111122223333:function:rotator"]
    error_message = "The role may more than to rotate the secrets that name the function."
  }
  assert {
    condition     = one(one(data.aws_iam_policy_document.trust.statement).principals).identifiers == toset(["arn:aws:iam::111122223333:role/rotator"])
    error_message = "The role trusts somebody else."
  }
  assert {
    condition     = { for c in one(data.aws_iam_policy_document.trust.statement).condition : c.variable => "${c.test} ${one(c.values)}" } == { "sts:ExternalId" = "StringEquals external", "aws:PrincipalOrgID" = "StringEquals o-exampleorg1" }
    error_message = "The role may be assumed without the external ID, or from outside of the organisation."
  }
  assert {
    condition     = aws_iam_role.this.name == "rotation"
    error_message = "The role has another name."
  }
}

run "everything_asked_for" {
  command = plan

  variables {
    kms_key_arns           = ["arn:aws:kms:eu-central-1:444455556666:key/1"]
    superuser_secret_arns  = ["arn:aws:secretsmanager:eu-central-1:444455556666:secret:superuser-AbCdEf"]
    superuser_kms_key_arns = ["arn:aws:kms:eu-central-1:444455556666:key/3"]
    redshift_superusers    = "true"
    elasticache_user_arns  = ["arn:aws:elasticache:eu-central-1:444455556666:user:app"]
    memorydb_user_arns     = ["arn:aws:memorydb:eu-central-1:444455556666:user/app"]
    influxdb_instance_arns = ["arn:aws:timestream-influxdb:eu-central-1:444455556666:db-instance/abc"]
    directory_arns         = ["arn:aws:ds:eu-central-1:444455556666:directory/d-0123456789"]
    iam_user_arns          = ["arn:aws:iam::444455556666:user/app"]
  }

  assert {
    condition = { for s in data.aws_iam_policy_document.rotate.statement : s.sid => join(" ", sort(s.resources)) } == {
      SecretsThatNameTheFunction = "arn:aws:secretsmanager:eu-central-1:444455556666:secret:*"
      SuperuserSecrets           = "arn:aws:secretsmanager:eu-central-1:444455556666:secret:superuser-AbCdEf"
      HostsOfSuperusers          = "arn:aws:rds:eu-central-1:444455556666:cluster:* arn:aws:rds:eu-central-1:444455556666:db:*"
      RedshiftHostsOfSuperusers  = "*"
      ElastiCacheUsers           = "arn:aws:elasticache:eu-central-1:444455556666:user:app"
      ElastiCacheUserPasswords   = "arn:aws:elasticache:eu-central-1:444455556666:user:app"
      MemoryDbUsers              = "arn:aws:memorydb:eu-central-1:444455556666:user/app"
      MemoryDbUserPasswords      = "arn:aws:memorydb:eu-central-1:444455556666:user/app"
      InfluxDbInstances          = "arn:aws:timestream-influxdb:eu-central-1:444455556666:db-instance/abc"
      Directories                = "*"
      DirectoryPasswords         = "arn:aws:ds:eu-central-1:444455556666:directory/d-0123456789"
      IamUsers                   = "arn:aws:iam::444455556666:user/app"
      IamUsersIntent             = "arn:aws:iam::444455556666:user/app"
      KeysOfTheSecrets           = "arn:aws:kms:eu-central-1:444455556666:key/1"
      KeysOfSuperusers           = "arn:aws:kms:eu-central-1:444455556666:key/3"
    }
    error_message = "A statement is missing, one too many, or about something else."
  }
  assert {
    condition = { for s in data.aws_iam_policy_document.rotate.statement : s.sid => join("; ", sort([for c in s.condition : join(" ", concat([c.test, c.variable], c.values))])) if length(s.condition) > 0 } == {
      SecretsThatNameTheFunction = "StringEquals secretsmanager:resource/AllowRotationLambdaArn arn:aws:lambda:eu-central-1:111122223333:function:rotator"
      IamUsersIntent             = "ForAllValues:StringEquals aws:TagKeys rotator:intent"
      ElastiCacheUserPasswords   = "StringLike aws:ResourceTag/rotator:secret arn:aws:secretsmanager:*:444455556666:secret:*"
      MemoryDbUserPasswords      = "StringLike aws:ResourceTag/rotator:secret arn:aws:secretsmanager:*:444455556666:secret:*"
      KeysOfTheSecrets           = "StringEquals kms:ViaService secretsmanager.eu-central-1.amazonaws.com; StringLike kms:EncryptionContext:SecretARN arn:aws:secretsmanager:eu-central-1:444455556666:secret:*"
      KeysOfSuperusers           = "StringEquals kms:ViaService secretsmanager.eu-central-1.amazonaws.com; StringLike kms:EncryptionContext:SecretARN arn:aws:secretsmanager:eu-central-1:444455556666:secret:superuser-AbCdEf"
    }
    error_message = "A statement has another condition."
  }
}

run "values_that_are_refused" {
  command = plan

  variables {
    function_role_arn = "rotator"
    function_arn      = "rotator"
    external_id       = "short"
    organization_id   = "org"
  }

  expect_failures = [var.function_role_arn, var.function_arn, var.external_id, var.organization_id]
}
