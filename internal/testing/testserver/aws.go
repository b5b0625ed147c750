package testserver

// AWS returns the folder in which scripts/deps.sh has put boto3, and the AWS CLI as bin/aws.
func AWS() (string, error) {
	if path, ok := cached("aws-1.45.11"); ok {
		return path, nil
	}
	return "", missing("boto3 and the AWS CLI", "deps")
}
