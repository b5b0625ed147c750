# The rotation function, and a secret of a PostgreSQL user that it rotates every 30 days. From this folder:
#   terraform init
#   terraform apply -var zip=rotator-v0.1.0-lambda-x86_64.zip -var host=db.example.internal
# The schedule starts with a test of the secret. If that succeeds, set rotate_immediately to true.

terraform {
  required_version = ">= 1.11" # for write-only arguments
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7"
    }
  }
}

variable "zip" {
  description = "The function's zip, from a release or from make release."
  type        = string
}

variable "host" {
  description = "The database's endpoint."
  type        = string
}

variable "username" {
  type    = string
  default = "app"
}

variable "initial_password" {
  description = "The password that the user has now. The first rotation replaces it."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "vpc_subnet_ids" {
  description = "Subnets that reach the database, with a route to Secrets Manager. Empty for a function outside any VPC."
  type        = list(string)
  default     = []
}

variable "vpc_security_group_ids" {
  type    = list(string)
  default = []
}

module "rotator" {
  source                 = "../../deploy/terraform"
  zip                    = var.zip
  vpc_subnet_ids         = var.vpc_subnet_ids
  vpc_security_group_ids = var.vpc_security_group_ids
}

resource "aws_secretsmanager_secret" "app" {
  name = "shop/db"
}

resource "aws_secretsmanager_secret_version" "app" {
  secret_id = aws_secretsmanager_secret.app.id
  # Write-only: the password is in neither the plan nor the state. Terraform writes it once; a higher
  # version would write it again, over the rotated one.
  secret_string_wo = jsonencode({
    engine   = "postgres"
    host     = var.host
    username = var.username
    password = var.initial_password
  })
  secret_string_wo_version = 1
}

resource "aws_secretsmanager_secret_rotation" "app" {
  secret_id           = aws_secretsmanager_secret_version.app.secret_id
  rotation_lambda_arn = module.rotator.function_arn
  rotate_immediately  = false # only a test at first

  rotation_rules {
    schedule_expression = "rate(30 days)"
    duration            = "2h"
  }
}
