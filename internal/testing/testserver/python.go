package testserver

import "os/exec"

// Python returns a Python interpreter that has boto3, the AWS CLI and pytest.
func Python() (string, error) {
	python, ok := cached("python-1/bin/python3")
	if !ok {
		python = "python3"
	}
	if exec.Command(python, "-c", "import awscli, boto3, pytest").Run() != nil {
		return "", missing("Python with boto3, the AWS CLI and pytest", "deps")
	}
	return python, nil
}
