package directory

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"testing"
)

// TestFold uses the standard's test vectors.
// Source: https://www.rfc-editor.org/rfc/rfc3961#appendix-A.1
func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"012345":   "be072631276b1955",
		"kerberos": "6b65726265726f737b9b5b2b93132b93",
		"password": "59e4a8ca7c0385c3c37b3f6d2000247cb6e6bd5b3e",
	} {
		if got := hex.EncodeToString(fold([]byte(in), len(want)/2)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestKeyOfAPassword uses the standard's test vectors.
// Source: https://www.rfc-editor.org/rfc/rfc3962#appendix-B
func TestKeyOfAPassword(t *testing.T) {
	for _, c := range []struct {
		rounds int
		want   string
	}{
		{1, "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161"},
		{1200, "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a"},
	} {
		k, err := passwordKey("password", "ATHENA.MIT.EDUraeburn", c.rounds)
		if got := hex.EncodeToString(k); err != nil || got != c.want {
			t.Errorf("%s, want %s, %v", got, c.want, err)
		}
	}
}

// TestCiphertextStealing uses the standard's test vectors.
// Source: https://www.rfc-editor.org/rfc/rfc3962#appendix-B
func TestCiphertextStealing(t *testing.T) {
	block, err := aes.NewCipher([]byte("chicken teriyaki"))
	if err != nil {
		t.Fatal(err)
	}
	const plain = "I would like the General Gau's Chicken, please, and wonton soup."
	for n, want := range map[int]string{
		17: "c6353568f2bf8cb4d8a580362da7ff7f97",
		31: "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5",
		32: "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584",
		48: "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8",
	} {
		sealed := steal(block, []byte(plain[:n]))
		if got := hex.EncodeToString(sealed); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
		if got := unsteal(block, sealed); string(got) != plain[:n] {
			t.Errorf("%d bytes come back as %q", n, got)
		}
	}
}

func TestSealedMessages(t *testing.T) {
	k := key(make([]byte, 32))
	for n := 1; n < 50; n++ {
		message := bytes.Repeat([]byte("m"), n)
		sealed := k.seal(usageTime, message)
		if got, err := k.open(usageTime, sealed); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%d bytes: %q, %v", n, got, err)
		}
		sealed[n%len(sealed)] ^= 1
		if _, err := k.open(usageTime, sealed); err == nil {
			t.Fatalf("%d bytes: a changed message is accepted", n)
		}
	}
	for n := range 30 {
		if _, err := k.open(usageTime, make([]byte, n)); err == nil {
			t.Errorf("%d bytes that are not a message are accepted", n)
		}
	}
}
