// Package terraform tests the module of deploy/terraform by Terraform itself, where
// Terraform's registry cannot be reached: the test binary stands in for AWS's provider.
// It has the provider's schema of what the module speaks of, so that `terraform validate`
// and `terraform test` tell whether the module fits. It makes nothing.
package terraform
