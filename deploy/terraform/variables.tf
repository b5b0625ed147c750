variable "name" {
  description = "Name of the function, its role, log group, alarms and dashboard."
  type        = string
  default     = "rotator"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,48}$", var.name))
    error_message = "Give 1 to 48 letters, digits, hyphens or underscores."
  }
}

variable "zip" {
  description = "Path of the zip with the file bootstrap, such as the zip of a release."
  type        = string
}

variable "architecture" {
  description = "Processor that the zip is built for."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Give one of arm64, x86_64."
  }
}

variable "secrets_account_ids" {
  description = "Other accounts whose Secrets Manager may call the function. Used with rotation_role_arn."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.secrets_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "Give account IDs of 12 digits."
  }
}

# The parameters of template.yaml, in its order.

variable "vpc_subnet_ids" {
  description = "Subnets that reach the databases, with a route to Secrets Manager. Empty for a function outside any VPC."
  type        = list(string)
  default     = []
}

variable "vpc_security_group_ids" {
  description = "Security groups of the function. Required with vpc_subnet_ids."
  type        = list(string)
  default     = []
}

variable "alarm_topic_arn" {
  description = "SNS topic that is notified of failed rotations. Its policy must let events.amazonaws.com publish. Empty for no notifications."
  type        = string
  default     = ""
}

variable "kms_key_arns" {
  description = "Customer-managed KMS keys of the secrets and superuser secrets. Empty for the key aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "superuser_secret_arns" {
  description = "Superuser secrets (masterarn) that the function may read."
  type        = list(string)
  default     = []
}

variable "rotation_role_arn" {
  description = "Role to assume for secrets of other accounts, such as arn:{partition}:iam::{account}:role/rotation. Empty for secrets of this account."
  type        = string
  default     = ""
}

variable "rotation_role_external_id" {
  description = "External ID for rotation_role_arn. It is not a credential, and is stored in plain text."
  type        = string
  default     = ""
}

variable "rotation_role_organization_id" {
  description = "AWS organization in whose accounts rotation_role_arn may be assumed. Empty for any account that trusts the function."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(o-[a-z0-9]{10,32})?$", var.rotation_role_organization_id))
    error_message = "Give an organization's ID, or nothing."
  }
}

variable "exclude_characters" {
  description = "Characters that new passwords do not contain. Empty for the engine's default, a space for none."
  type        = string
  default     = ""
}

variable "password_length" {
  description = "Length of new passwords. Empty for the engine's default."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([1-9][0-9]*)?$", var.password_length))
    error_message = "Give a whole number, or nothing."
  }
}

variable "settings" {
  description = "All other settings as an object, such as { ENGINE = \"postgres\", EXCLUDE_PUNCTUATION = true }. docs/configuration.md lists them. The function checks them when it starts."
  type        = any
  default     = {}

  validation {
    condition     = can(keys(var.settings))
    error_message = "Give an object, such as { ENGINE = \"postgres\" }."
  }
}

variable "timeout" {
  description = "Seconds for one step. ElastiCache and MemoryDB need 900, because their users take minutes to become active."
  type        = number
  default     = 60

  validation {
    condition     = var.timeout >= 15 && var.timeout <= 900
    error_message = "Give 15 to 900."
  }
}

variable "memory_size" {
  description = "Memory in MiB. The function uses less than 30, but the processor share for TLS and SCRAM grows with it."
  type        = number
  default     = 256

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240
    error_message = "Give 128 to 10240."
  }
}

variable "reserved_concurrency" {
  description = "Maximum number of concurrent steps, which limits connections to databases. -1 for no reservation."
  type        = number
  default     = -1

  validation {
    condition     = var.reserved_concurrency >= -1
    error_message = "Give -1 or more."
  }
}

variable "log_level" {
  description = "Least severe messages that the function logs."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["DEBUG", "INFO", "WARN", "ERROR"], var.log_level)
    error_message = "Give one of DEBUG, INFO, WARN, ERROR."
  }
}

variable "log_retention_days" {
  description = "Days to keep the log."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Give one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "tracing" {
  description = "AWS X-Ray tracing of the function."
  type        = string
  default     = "PassThrough"

  validation {
    condition     = contains(["Active", "PassThrough"], var.tracing)
    error_message = "Give one of Active, PassThrough."
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the function's role. Empty for none."
  type        = string
  default     = ""
}

# The parameters of deploy/services.yaml.

variable "elasticache_user_arns" {
  description = "ElastiCache users whose passwords the function may set."
  type        = list(string)
  default     = []
}

variable "memorydb_user_arns" {
  description = "MemoryDB users whose passwords the function may set."
  type        = list(string)
  default     = []
}

variable "influxdb_instance_arns" {
  description = "Instances of Timestream for InfluxDB that secrets name in the field dbIdentifier."
  type        = list(string)
  default     = []
}

variable "directory_arns" {
  description = "Directories of AWS Directory Service whose users' passwords the function may reset."
  type        = list(string)
  default     = []
}

variable "iam_user_arns" {
  description = "IAM users whose access keys the function may change. The setting IAM_BY_ROLE must be true."
  type        = list(string)
  default     = []
}

variable "redshift_superusers" {
  description = "Whether Redshift manages a superuser secret, so the function must ask Redshift for its host."
  type        = string
  default     = "false"

  validation {
    condition     = contains(["true", "false"], var.redshift_superusers)
    error_message = "Give one of true, false."
  }
}
