package main

import (
	"archive/zip"
	"bytes"
	"time"
)

// zipTime is the oldest time that a zip can hold. It is the same for every build.
var zipTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// zipped returns a zip with the single file bootstrap, which Lambda's runtime provided.al2023 executes. Everyone may
// read and execute it, because Lambda does not run it as its owner.
// Source: https://docs.aws.amazon.com/lambda/latest/dg/golang-package.html
func zipped(bootstrap []byte) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: zipTime}
	header.SetMode(0o755)
	w, err := z.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(bootstrap); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
