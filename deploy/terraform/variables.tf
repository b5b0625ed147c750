variable "name" {
  description = "Name of the function, its role and its log group."
  type        = string
  default     = "rotator"
}

variable "zip" {
  description = "Path of the zip with the file bootstrap."
  type        = string
}

variable "architecture" {
  description = "Processor that the zip was built for."
  type        = string
  default     = "arm64"
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "The architecture is arm64 or x86_64."
  }
}

variable "memory_size" {
  description = "Memory in MiB."
  type        = number
  default     = 256
}

variable "timeout" {
  description = "Seconds for one step; every wait is bounded by it."
  type        = number
  default     = 60
}

variable "reserved_concurrency" {
  description = "Most steps at a time; -1 for no reservation."
  type        = number
  default     = -1
}

variable "subnet_ids" {
  description = "Subnets that reach the databases; empty for no VPC."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups of the function, with subnet_ids."
  type        = list(string)
  default     = []
}

variable "kms_key_arn" {
  description = "Customer-managed key of the secrets; empty for aws/secretsmanager."
  type        = string
  default     = ""
}

variable "superuser_secret_arns" {
  description = "Superuser secrets (masterarn) that the function may read."
  type        = list(string)
  default     = []
}

variable "rotation_role_arn" {
  description = "Role to assume for secrets of other accounts; {account} stands for the secret's account."
  type        = string
  default     = ""
}

variable "rotation_role_external_id" {
  description = "External ID for rotation_role_arn."
  type        = string
  default     = ""
  sensitive   = true
}

variable "environment" {
  description = "Further variables of the function, such as PASSWORD_LENGTH."
  type        = map(string)
  default     = {}
}

variable "log_retention_days" {
  description = "Days for which the function's log is kept."
  type        = number
  default     = 90
}
