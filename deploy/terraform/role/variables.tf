variable "function_role_arn" {
  description = "Output role_arn of the function's module, or RotatorRoleArn of its stack."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/.+$", var.function_role_arn))
    error_message = "Give the ARN of a role."
  }
}

variable "function_arn" {
  description = "Output function_arn of the function's module, or RotationLambdaARN of its stack. The role can use only secrets that name it."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:.+$", var.function_arn))
    error_message = "Give the ARN of a function."
  }
}

variable "external_id" {
  description = "External ID, the same as rotation_role_external_id of the function."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.external_id) >= 8
    error_message = "Give 8 characters or more."
  }
}

variable "organization_id" {
  description = "AWS organization that both accounts belong to."
  type        = string

  validation {
    condition     = can(regex("^o-[a-z0-9]{10,32}$", var.organization_id))
    error_message = "Give an organization's ID."
  }
}

variable "role_name" {
  description = "Last part of the function's rotation_role_arn, such as arn:aws:iam::{account}:role/rotation."
  type        = string
  default     = "rotation"
}

variable "kms_key_arns" {
  description = "Customer-managed KMS keys of the secrets. Empty for the key aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "superuser_secret_arns" {
  description = "Superuser secrets (masterarn) in this account that the function may read. Another function may rotate them."
  type        = list(string)
  default     = []
}

variable "superuser_kms_key_arns" {
  description = "Customer-managed KMS keys of superuser_secret_arns. Empty for the key aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "redshift_superusers" {
  description = "Whether Redshift manages one of superuser_secret_arns, so the function must ask Redshift for its host."
  type        = string
  default     = "false"

  validation {
    condition     = contains(["true", "false"], var.redshift_superusers)
    error_message = "Give one of true, false."
  }
}

variable "elasticache_user_arns" {
  description = "Users of ElastiCache whose passwords the function may set."
  type        = list(string)
  default     = []
}

variable "memorydb_user_arns" {
  description = "Users of MemoryDB whose passwords the function may set."
  type        = list(string)
  default     = []
}

variable "influxdb_instance_arns" {
  description = "Instances of Timestream for InfluxDB that secrets name by dbIdentifier."
  type        = list(string)
  default     = []
}

variable "directory_arns" {
  description = "Directories of AWS Directory Service whose users' passwords the role may reset."
  type        = list(string)
  default     = []
}

variable "iam_user_arns" {
  description = "IAM users whose access keys the role may change, with the function's setting IAM_BY_ROLE."
  type        = list(string)
  default     = []
}
