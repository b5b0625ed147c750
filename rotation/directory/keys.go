package directory

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
)

// aes256 is the number of the encryption type aes256-cts-hmac-sha1-96. Every account whose password was set at
// functional level 2008 or later has such a key.
// Source: https://www.rfc-editor.org/rfc/rfc3962
const aes256 = 18

// key is a key of 32 bytes.
type key []byte

// passwordKey derives a password's key.
// Source: https://www.rfc-editor.org/rfc/rfc3962#section-4
func passwordKey(password, salt string, rounds int) (key, error) {
	k, err := pbkdf2.Key(sha1.New, password, []byte(salt), rounds, 32)
	if err != nil {
		return nil, err
	}
	return key(k).derive([]byte("kerberos")), nil
}

// derive derives a key from k and a constant.
// Source: https://www.rfc-editor.org/rfc/rfc3961#section-5.1
func (k key) derive(constant []byte) key {
	block, err := aes.NewCipher(k)
	if err != nil {
		panic(err) // its length is right
	}
	var out key
	for next := fold(constant, aes.BlockSize); len(out) < len(k); out = append(out, next...) {
		block.Encrypt(next, next)
	}
	return out
}

// fold is the RFC's n-fold: it stretches or shrinks in to size bytes.
// Source: https://www.rfc-editor.org/rfc/rfc3961#section-5.1
func fold(in []byte, size int) []byte {
	// Append copies, each rotated 13 more bits, up to a multiple of both lengths.
	var all []byte
	bits := 8 * len(in)
	for turn := 0; turn == 0 || len(all)%size != 0; turn += 13 {
		turned := make([]byte, len(in))
		for i := range bits {
			from := (i + bits - turn%bits) % bits
			turned[i/8] |= in[from/8] >> (7 - from%8) & 1 << (7 - i%8)
		}
		all = append(all, turned...)
	}
	// The ones' complement sum of the parts is the whole modulo 2^n-1.
	sum := new(big.Int).Lsh(big.NewInt(1), uint(8*size))
	sum.Mod(new(big.Int).SetBytes(all), sum.Sub(sum, big.NewInt(1)))
	return sum.FillBytes(make([]byte, size))
}

// sumSize is the length of the checksum that ends a sealed message.
const sumSize = 12

// parts returns the keys for encryption and checksums of one usage.
// Source: https://www.rfc-editor.org/rfc/rfc3961#section-5.3
func (k key) parts(usage uint32) (block cipher.Block, integrity key) {
	constant := binary.BigEndian.AppendUint32(nil, usage)
	block, err := aes.NewCipher(k.derive(append(slices.Clone(constant), 0xaa)))
	if err != nil {
		panic(err) // as in derive
	}
	return block, k.derive(append(constant, 0x55))
}

func checksum(k key, message []byte) []byte {
	mac := hmac.New(sha1.New, k)
	mac.Write(message)
	return mac.Sum(nil)[:sumSize]
}

// seal encrypts a message.
func (k key) seal(usage uint32, message []byte) []byte {
	block, integrity := k.parts(usage)
	plain := make([]byte, aes.BlockSize, aes.BlockSize+len(message))
	rand.Read(plain) // never fails: see crypto/rand
	plain = append(plain, message...)
	return append(steal(block, plain), checksum(integrity, plain)...)
}

var errSealed = errors.New("the answer was not encrypted with the password's key")

// open decrypts a message.
func (k key) open(usage uint32, sealed []byte) ([]byte, error) {
	n := len(sealed) - sumSize
	if n <= aes.BlockSize {
		return nil, errSealed
	}
	block, integrity := k.parts(usage)
	plain := unsteal(block, sealed[:n])
	if !hmac.Equal(checksum(integrity, plain), sealed[n:]) {
		return nil, errSealed
	}
	return plain[aes.BlockSize:], nil
}

// zero is the initialization vector of all messages, because each begins with a random block.
var zero [aes.BlockSize]byte

// steal encrypts more than one block with CBC and ciphertext stealing: the last two blocks are swapped, and the padding
// of the last one is cut off.
// Source: https://www.rfc-editor.org/rfc/rfc3962#section-5
func steal(block cipher.Block, plain []byte) []byte {
	out := append(slices.Clone(plain), make([]byte, -len(plain)&(aes.BlockSize-1))...)
	cipher.NewCBCEncrypter(block, zero[:]).CryptBlocks(out, out) //nolint:gosec // RFC 3962 prescribes it
	n := len(out) - 2*aes.BlockSize
	out = slices.Concat(out[:n], out[n+aes.BlockSize:], out[n:n+aes.BlockSize])
	return out[:len(plain)]
}

// unsteal decrypts what steal encrypted.
func unsteal(block cipher.Block, sealed []byte) []byte {
	last := (len(sealed)-1)/aes.BlockSize*aes.BlockSize - aes.BlockSize
	final, short := sealed[last:last+aes.BlockSize], sealed[last+aes.BlockSize:]
	// The last block contains the bytes that were cut off the previous one.
	var whole [aes.BlockSize]byte
	block.Decrypt(whole[:], final)
	copy(whole[:], short)
	out := slices.Concat(sealed[:last], whole[:], final)
	cipher.NewCBCDecrypter(block, zero[:]).CryptBlocks(out, out)
	return out[:len(sealed)]
}
