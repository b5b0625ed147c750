package testserver

// AWS returns the folder with the Python modules of boto3 and the AWS CLI.
func AWS() (string, error) {
	if path, ok := cached("aws-1.45.11"); ok {
		return path, nil
	}
	return "", missing("boto3 and the AWS CLI", "deps")
}
