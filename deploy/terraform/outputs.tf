output "function_arn" {
  description = "ARN of the function, for rotation_lambda_arn of aws_secretsmanager_secret_rotation."
  value       = aws_lambda_function.this.arn
}

output "role_arn" {
  description = "The function's role; roles and key policies of other accounts trust it."
  value       = aws_iam_role.this.arn
}
