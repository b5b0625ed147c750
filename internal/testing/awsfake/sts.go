package awsfake

import "encoding/xml"

// sts performs an action of STS. GetCallerIdentity needs no permission.
// Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
func (f *IAM) sts(caller *iamKey, action string) (any, *fault) {
	if action != "GetCallerIdentity" {
		return nil, &fault{400, "InvalidAction", "Could not find operation " + action + " for version 2011-06-15"}
	}
	return answer(action, "https://sts.amazonaws.com/doc/2011-06-15/", struct {
		XMLName xml.Name `xml:"GetCallerIdentityResult"`
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{Arn: f.arn(caller), UserID: "AIDAFAKE" + caller.user, Account: caller.account}), nil
}
