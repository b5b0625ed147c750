//go:build repro

package function

import "testing"

func TestZTopology(t *testing.T) {
	top := services(t)
	for _, c := range [][2]string{
		{"aurora.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "aurora.cluster-abc.eu-west-1.rds.amazonaws.com"},
		{"aurora.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "member.abc.eu-west-1.rds.amazonaws.com"},
		{"replica.abc.rds.cn-north-1.amazonaws.com.cn", "writer.abc.rds.cn-north-1.amazonaws.com.cn"},
	} {
		got, err := top.Replica(t.Context(), superuserARN, c[0], c[1])
		t.Log("host", c[0], "superuser's host", c[1], "=>", got, err)
	}
}
