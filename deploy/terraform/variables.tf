variable "name" {
  description = "Name of the function, its role, log group, alarms and dashboard."
  type        = string
  default     = "rotator"
}

variable "zip" {
  description = "Path of the zip with the file bootstrap, as a release has it."
  type        = string
}

variable "secrets_account_ids" {
  description = "Other accounts whose Secrets Manager may call the function, with rotation_role_arn."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.secrets_account_ids : can(regex("^[0-9]{12}$", id))])
    error_message = "Give account IDs of 12 digits."
  }
}

# The rest are the parameters of template.yaml, which a test holds them to. Texts
# that are true or false may also be given as bool.

variable "architecture" {
  description = "Processor of the function, which the zip must be for."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Give one of arm64, x86_64."
  }
}

variable "memory_size" {
  description = "Memory in MiB. The function itself uses less than 30; more memory means more of a processor for TLS and SCRAM."
  type        = number
  default     = 256

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240
    error_message = "Give 128 to 10240."
  }
}

variable "timeout" {
  description = "Seconds for one step, 15 to 900. Every wait is bounded by it. Empty for what the engines need, which is 60, or 900 with elasticache_user_arns or memorydb_user_arns; give 900 for such users of other accounts, too."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(1[5-9]|[2-9][0-9]|[1-8][0-9][0-9]|900)?$", var.timeout))
    error_message = "Give 15 to 900, or nothing."
  }
}

variable "vpc_subnet_ids" {
  description = "Subnets that reach the databases. Empty for a function outside any VPC."
  type        = list(string)
  default     = []
}

variable "vpc_security_group_ids" {
  description = "Security groups of the function, with vpc_subnet_ids."
  type        = list(string)
  default     = []
}

variable "kms_key_arns" {
  description = "Customer-managed KMS keys of the secrets. Empty for the key aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "superuser_secret_arns" {
  description = "Superuser secrets (masterarn) that the function may read. Their own rotation may be any other function's."
  type        = list(string)
  default     = []
}

variable "superuser_kms_key_arns" {
  description = "Customer-managed KMS keys of superuser_secret_arns. Empty for the key aws/secretsmanager."
  type        = list(string)
  default     = []
}

variable "redshift_superusers" {
  description = "Whether Redshift manages one of superuser_secret_arns, so that the function must ask Redshift for its host."
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

variable "iam_user_arns" {
  description = "IAM users whose access keys the function's role may change, with iam_by_role."
  type        = list(string)
  default     = []
}

variable "rotation_role_arn" {
  description = "Role to assume for the secrets of other accounts; {account} and {partition} stand for the secret's own. Empty for secrets of this account."
  type        = string
  default     = ""
}

variable "rotation_role_external_id" {
  description = "External ID for rotation_role_arn."
  type        = string
  default     = ""
  sensitive   = true
}

variable "rotation_role_organization_id" {
  description = "AWS organisation whose accounts' rotation_role_arn the function may assume. Empty for any account that trusts it."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(o-[a-z0-9]{10,32})?$", var.rotation_role_organization_id))
    error_message = "Give an organisation's ID, or nothing."
  }
}

variable "exclude_characters" {
  description = "Characters that no new password has. Empty for the engine's own default, a space for none."
  type        = string
  default     = ""
}

variable "exclude_lowercase" {
  description = "Whether new passwords have no lower-case letter. Empty for false."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "true", "false"], var.exclude_lowercase)
    error_message = "Give one of (empty), true, false."
  }
}

variable "exclude_uppercase" {
  description = "Whether new passwords have no upper-case letter. Empty for false."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "true", "false"], var.exclude_uppercase)
    error_message = "Give one of (empty), true, false."
  }
}

variable "exclude_numbers" {
  description = "Whether new passwords have no digit. Empty for false."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "true", "false"], var.exclude_numbers)
    error_message = "Give one of (empty), true, false."
  }
}

variable "exclude_punctuation" {
  description = "Whether new passwords have no mark. Empty for false."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "true", "false"], var.exclude_punctuation)
    error_message = "Give one of (empty), true, false."
  }
}

variable "password_length" {
  description = "Length of new passwords. Empty for the engine's own default."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.password_length))
    error_message = "The form is ^[0-9]*$."
  }
}

variable "allow_plaintext_fallback" {
  description = "Lets secrets that do not say \"ssl\" be rotated without encryption where the server offers none."
  type        = string
  default     = "false"

  validation {
    condition     = contains(["true", "false"], var.allow_plaintext_fallback)
    error_message = "Give one of true, false."
  }
}

variable "require_each_included_type" {
  description = "Whether each password has an upper-case and a lower-case letter, a digit and a mark. Empty for true."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "true", "false"], var.require_each_included_type)
    error_message = "Give one of (empty), true, false."
  }
}

variable "username_character_limit" {
  description = "Longest name of an alternate user. Empty for the engine's own default."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.username_character_limit))
    error_message = "The form is ^[0-9]*$."
  }
}

variable "engine" {
  description = "Engine of secrets whose value has no field engine. Empty for none."
  type        = string
  default     = ""
}

variable "strategy" {
  description = "Strategy of secrets whose tags say none. Empty for alternating users where a secret has a masterarn, and else a single user."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "single", "alternating"], var.strategy)
    error_message = "Give one of (empty), single, alternating."
  }
}

variable "recover_by_superuser" {
  description = "Whether a superuser secret may reset a single user that no version of its secret opens."
  type        = string
  default     = "false"

  validation {
    condition     = contains(["true", "false"], var.recover_by_superuser)
    error_message = "Give one of true, false."
  }
}

variable "adopt_pairs" {
  description = "Whether a rotation takes over two users that AWS's template or an operator made. See rotatorctl adopt."
  type        = string
  default     = "false"

  validation {
    condition     = contains(["true", "false"], var.adopt_pairs)
    error_message = "Give one of true, false."
  }
}

variable "iam_by_role" {
  description = "Whether the function's role changes access keys, and not the key itself. See iam_user_arns."
  type        = string
  default     = "false"

  validation {
    condition     = contains(["true", "false"], var.iam_by_role)
    error_message = "Give one of true, false."
  }
}

variable "ca_bundle" {
  description = "CAs to trust beside the system's and RDS's, as PEM or as the path of a PEM file in the package. Lambda takes 4 KB of variables in all."
  type        = string
  default     = ""
}

variable "http_recipes" {
  description = "Recipes for tokens of HTTP APIs, as JSON or as the path of a JSON file in the package."
  type        = string
  default     = ""
}

variable "secret_arn" {
  description = "The one secret of the function, by AWS's template for ElastiCache. Empty for any that names the function; users are then tagged with their secrets."
  type        = string
  default     = ""
}

variable "user_name" {
  description = "The id of the one user of the function, by AWS's template for ElastiCache. Empty for the secret's own."
  type        = string
  default     = ""
}

variable "max_waiting_time_for_active_in_seconds" {
  description = "Longest wait for a user of ElastiCache or MemoryDB to become active. Empty for the engine's own default."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.max_waiting_time_for_active_in_seconds))
    error_message = "The form is ^[0-9]*$."
  }
}

variable "waiting_retry_interval_in_seconds" {
  description = "Time between two looks at such a user. Empty for the engine's own default."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.waiting_retry_interval_in_seconds))
    error_message = "The form is ^[0-9]*$."
  }
}

variable "redis_nodes" {
  description = "Nodes of a Redis or Valkey cluster that are changed, where a secret's tag says nothing. Empty for all."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "all", "host"], var.redis_nodes)
    error_message = "Give one of (empty), all, host."
  }
}

variable "redis_persist" {
  description = "Whether Redis or Valkey must save its users. Empty for required."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "required", "off"], var.redis_persist)
    error_message = "Give one of (empty), required, off."
  }
}

variable "redis_trusted_nodes" {
  description = "Addresses, networks such as 10.0.3.0/24 and host names of Redis and Valkey nodes that may be sent passwords because another node names them. Empty for those alone that prove themselves by TLS."
  type        = string
  default     = ""
}

variable "ldap_change" {
  description = "How a password of LDAP changes. Empty for overlap."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "overlap", "exop"], var.ldap_change)
    error_message = "Give one of (empty), overlap, exop."
  }
}

variable "ldap_starttls" {
  description = "Whether LDAP begins TLS by StartTLS. Empty for what the port says."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "true", "false"], var.ldap_starttls)
    error_message = "Give one of (empty), true, false."
  }
}

variable "generic_kind" {
  description = "What the engine generic makes. Empty for password."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "password", "bytes", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521"], var.generic_kind)
    error_message = "Give one of (empty), password, bytes, ed25519, rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384, ecdsa-p521."
  }
}

variable "generic_field" {
  description = "Fields that the engine generic changes. Empty for the whole value."
  type        = string
  default     = ""
}

variable "generic_bytes" {
  description = "How many bytes the engine generic makes. Empty for 32."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.generic_bytes))
    error_message = "The form is ^[0-9]*$."
  }
}

variable "generic_encoding" {
  description = "Form of what the engine generic makes. Empty for the kind's own default."
  type        = string
  default     = ""

  validation {
    condition     = contains(["", "base64", "base64url", "hex", "binary", "pem", "openssh"], var.generic_encoding)
    error_message = "Give one of (empty), base64, base64url, hex, binary, pem, openssh."
  }
}

variable "secrets_manager_endpoint" {
  description = "URL of Secrets Manager, such as a VPC endpoint without private DNS. Empty for the region's own."
  type        = string
  default     = ""
}

variable "retire" {
  description = "When an old password that still works ends, at the next rotation or now."
  type        = string
  default     = "next"

  validation {
    condition     = contains(["next", "now"], var.retire)
    error_message = "Give one of next, now."
  }
}

variable "metrics" {
  description = "Whether the function writes metrics to its log (embedded metric format, namespace Rotator)."
  type        = string
  default     = "on"

  validation {
    condition     = contains(["on", "off"], var.metrics)
    error_message = "Give one of on, off."
  }
}

variable "alarm_topic_arn" {
  description = "SNS topic that hears of failed rotations. Its policy must let events.amazonaws.com and cloudwatch.amazonaws.com publish. Empty for no alarms."
  type        = string
  default     = ""
}

variable "reserved_concurrency" {
  description = "Most steps at a time, which bounds the connections to databases. -1 for no reservation."
  type        = number
  default     = -1

  validation {
    condition     = var.reserved_concurrency >= -1
    error_message = "Give -1 or more."
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

variable "code_signing_config_arn" {
  description = "Code signing configuration. Empty for none."
  type        = string
  default     = ""
}

variable "log_retention_days" {
  description = "Days for which the function's log is kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Give one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}
