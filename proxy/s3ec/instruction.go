// SPDX-License-Identifier: Apache-2.0

package s3ec

import (
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxInstructionSize bounds an instruction file. S3 allows 2 KiB of metadata, a
// KMS 6 KiB of wrapped key and 8 KiB of context.
const MaxInstructionSize = 64 << 10

// WithInstruction completes an envelope whose wrapped key is in an instruction
// file. The envelope itself is not changed. Every error wraps ErrRefused.
func (e *Envelope) WithInstruction(file []byte) (*Envelope, error) {
	if e.WrappedKey != nil {
		return nil, refuse("an instruction file for an object that has its data key in its metadata")
	}
	f, err := parseInstruction(file)
	if err != nil {
		return nil, err
	}
	if err := f.unmixed(); err != nil {
		return nil, err
	}
	complete := *e
	complete.Instructed = true
	if e.Bare() {
		err = complete.instructV2(f)
	} else {
		err = complete.instructV3(f)
	}
	if err != nil {
		return nil, err
	}
	return &complete, nil
}

// instructV2 takes everything from the instruction file of an object that is
// Bare. A V3 object is not, and so is not read as V2, whatever its instruction
// file is replaced by; what is V3 in the file lacks the mapkeys of V2.
func (e *Envelope) instructV2(f fields) error {
	ofObject := e.declared
	if err := e.readV2(f, asIs); err != nil {
		return err
	}
	return e.agree(ofObject)
}

// instructV3 takes the wrapped key, and nothing that the content is bound by.
func (e *Envelope) instructV3(f fields) error {
	if name := f.hasAny(append(keysV3Object[:len(keysV3Object):len(keysV3Object)], keysV2...)); name != "" {
		return refuse("%s in the instruction file of a V3 object", name)
	}
	ofObject := e.declared
	if err := e.readWrappingV3(f, asIs); err != nil {
		return err
	}
	var err error
	if e.declared, err = declaredLength(f); err != nil {
		return err
	}
	return e.agree(ofObject)
}

// agree refuses two different declared lengths, and keeps the one there is.
func (e *Envelope) agree(other int64) error {
	if e.declared >= 0 && other >= 0 && e.declared != other {
		return refuse("object and instruction file declare %d and %d bytes", other, e.declared)
	}
	e.declared = max(e.declared, other)
	return nil
}

// parseInstruction reads the JSON map. Unlike metadata, the file is the
// client's alone, so that an unknown name is a reason to refuse it. PHP writes
// the two lengths as numbers.
func parseInstruction(file []byte) (fields, error) {
	if len(file) > MaxInstructionSize {
		return nil, refuse("an instruction file of %d bytes", len(file))
	}
	var values map[string]jsontext.Value
	if err := json.Unmarshal(file, &values); err != nil || values == nil {
		return nil, refuse("an instruction file that is not a JSON map")
	}
	f := fields{}
	for name, value := range values {
		if !known(name) {
			return nil, refuse("%q in an instruction file", name)
		}
		text, err := instructionValue(name, value)
		if err != nil {
			return nil, err
		}
		if text != "" || !contains(mayBeEmpty, name) {
			f[name] = text
		}
	}
	return f, nil
}

func instructionValue(name string, value jsontext.Value) (string, error) {
	var text string
	if err := json.Unmarshal(value, &text); err == nil && value.Kind() == '"' {
		return text, nil
	}
	var number uint64
	if name == keyTagLen || name == keyLength {
		if err := json.Unmarshal(value, &number); err == nil && value.Kind() == '0' {
			return strconv.FormatUint(number, 10), nil
		}
	}
	return "", refuse("%s in an instruction file is not a string", name)
}
