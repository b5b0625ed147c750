// Package terraform tests the module in deploy/terraform with Terraform itself, without access to Terraform's registry:
// the test binary replaces AWS's provider. It has the provider's schema for what the module uses, so
// `terraform validate` and `terraform test` show whether the module fits. It creates nothing.
package terraform
