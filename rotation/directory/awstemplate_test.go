package directory

import (
	"testing"

	"example.com/rotator/internal/testing/awstemplate"
)

// TestSecretOfAWSTemplate: a secret of AWS's template is rotated unchanged, also with other names of its fields.
func TestSecretOfAWSTemplate(t *testing.T) {
	h := newFixture(t)
	env := h.fake.Env("DIRECTORY_SERVICE", h.url)
	f := awstemplate.New(t, env)
	f.Rotate("ActiveDirectoryRotationSingleUser", h)
	env["DICT_KEY_DIRECTORY"], env["DICT_KEY_USERNAME"], env["DICT_KEY_PASSWORD"] = "DirectoryId", "Username", "Password"
	f.Rotate("ActiveDirectoryRotationSingleUser", h,
		"awsSeamlessDomainDirectoryId", "DirectoryId", "awsSeamlessDomain", "")
}
