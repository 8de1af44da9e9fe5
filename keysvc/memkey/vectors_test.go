// SPDX-License-Identifier: Apache-2.0

package memkey_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sidekey/sidekey/keysvc/memkey"
)

// knownCase is one case of testdata/vectors, written by testdata/generate.py.
// Binary values are hexadecimal, or name one of the file's values.
type knownCase struct {
	Comment   string `json:"comment"`
	Source    string `json:"source"`
	Operation string `json:"operation"`
	Spec      string `json:"spec"`
	Options   string `json:"options"`
	Public    string `json:"public"`
	Material  string `json:"material"`
	Input     string `json:"input"`
	Signature string `json:"signature"`
	Output    string `json:"output"`
	Result    string `json:"result"` // valid, invalid, or acceptable: either is sound
	Answer    string `json:"answer"` // what this package says to an acceptable one
}

type knownFile struct {
	Values map[string]string `json:"values"`
	Cases  []knownCase       `json:"cases"`
}

// bytes looks a value up.
func (f *knownFile) bytes(t *testing.T, value string) []byte {
	t.Helper()
	if strings.HasPrefix(value, "$") {
		value = f.Values[value]
	}
	return unhex(t, value)
}

func readKnown(t *testing.T, file string) *knownFile {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known := &knownFile{}
	if err := json.Unmarshal(raw, known); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return known
}

// knownOptions is nil for an operation without a choice.
func knownOptions(name string) crypto.SignerOpts {
	hash := map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA256": crypto.SHA256, "SHA384": crypto.SHA384, "SHA512": crypto.SHA512}
	switch name {
	case "ED25519":
		return crypto.Hash(0)
	case "PURE":
		return memkey.Pure
	case "MU":
		return memkey.ExternalMu
	}
	if plain, ok := strings.CutPrefix(name, "PSS-"); ok {
		return pss(hash[plain])
	}
	return hash[name]
}

// answer does what the case says. output is nil for a verification.
func (f *knownFile) answer(t *testing.T, c knownCase) (ok bool, output []byte) {
	public, material, input := f.bytes(t, c.Public), f.bytes(t, c.Material), f.bytes(t, c.Input)
	opts := knownOptions(c.Options)
	var err error
	switch c.Operation {
	case "verify":
		return memkey.Verify(c.Spec, public, input, opts, f.bytes(t, c.Signature)), nil
	case "sign":
		output, err = memkey.Sign(c.Spec, material, input, opts)
		return err == nil && bytes.Equal(output, f.bytes(t, c.Signature)), nil
	case "public":
		output, err = memkey.Public(c.Spec, material)
	case "agree":
		output, err = memkey.Agree(c.Spec, material, public)
	case "mac":
		output, err = memkey.MAC(c.Spec, material, input)
	case "unwrap":
		output, err = memkey.UnwrapAESKWP(material, input)
	case "decrypt":
		output, ok, err = memkey.DecryptOAEP(c.Spec, material, opts.HashFunc(), input)
		return ok && err == nil, output
	default:
		t.Fatalf("unknown operation %q", c.Operation)
	}
	return err == nil, output
}

func TestKnownAnswers(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, file := range files {
		known := readKnown(t, file)
		for _, c := range known.Cases {
			want := c.Result
			if want == "acceptable" {
				want = c.Answer
			}
			seen[c.Operation+" "+want]++
			ok, output := known.answer(t, c)
			if ok != (want == "valid") || ok && !bytes.Equal(output, known.bytes(t, c.Output)) {
				t.Errorf("%s: %s %s %s: %s (%s): got %v %x, want %s", filepath.Base(file), c.Operation, c.Spec, c.Options, c.Comment, c.Source, ok, output, c.Result)
			}
		}
	}
	for what, least := range map[string]int{
		"verify valid": 40, "verify invalid": 500, "decrypt valid": 40, "decrypt invalid": 60, "agree valid": 10, "agree invalid": 50,
		"mac valid": 40, "unwrap valid": 20, "unwrap invalid": 60, "public valid": 3, "sign valid": 2,
	} {
		if seen[what] < least {
			t.Errorf("%d cases of %s, want at least %d", seen[what], what, least)
		}
	}
}
