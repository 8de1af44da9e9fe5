// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// TestStorm uses one key from many sides while it is disabled, enabled,
// rotated, forgotten, and while its material is taken away and brought back.
// Whatever is refused is refused for a state that the key had, and all that was
// made is there in the end.
func TestStorm(t *testing.T) {
	for _, protection := range []string{"hsm", "memory"} {
		for _, origin := range []string{"AWS_KMS", "EXTERNAL"} {
			t.Run(protection+" "+origin, func(t *testing.T) { storm(t, protection, origin) })
		}
	}
}

func storm(t *testing.T, protection, origin string) {
	s := newServer(t)
	s.stop()
	s.cfg.SweepInterval = 5 * time.Millisecond
	s.start()
	c := s.admin()
	in := &kms.CreateKeyInput{Tags: tags(map[string]string{"sidekey:protection": protection})}
	external := origin == "EXTERNAL"
	if external {
		in.Origin = "EXTERNAL"
	}
	made, err := c.CreateKey(ctx, in)
	must(t, err)
	id := made.KeyMetadata.KeyId
	var material *kms.ImportKeyMaterialInput
	if external {
		material = s.wrapFor(*id, "RSAES_OAEP_SHA_256", "RSA_2048", randomBytes(32))
		must2(t)(c.ImportKeyMaterial(ctx, material))
	}
	var mu sync.Mutex
	blobs := map[string][]byte{}
	refused := func(err error) bool {
		if err != nil && !slices.Contains([]string{"DisabledException", "KMSInvalidStateException", "LimitExceededException"}, codeOf(err)) {
			t.Error(err)
		}
		return err != nil
	}
	// A second, and on a machine with other work as much more as it takes.
	end := time.Now().Add(time.Second)
	storming := func() bool {
		mu.Lock()
		defer mu.Unlock()
		enough := len(blobs) >= 10 || time.Now().After(end.Add(time.Minute))
		return !t.Failed() && (time.Now().Before(end) || !enough)
	}
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := 0; storming(); i++ {
				text := fmt.Sprint(n, " ", i)
				enc, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: id, Plaintext: []byte(text)})
				if refused(err) {
					continue
				}
				mu.Lock()
				blobs[text] = enc.CiphertextBlob
				mu.Unlock()
				dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: enc.CiphertextBlob})
				if !refused(err) && string(dec.Plaintext) != text {
					t.Errorf("%q of %q", dec.Plaintext, text)
				}
			}
		})
	}
	wg.Go(func() {
		for storming() {
			_, err := c.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
			refused(err)
			_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
			refused(err)
			time.Sleep(5 * time.Millisecond)
		}
	})
	wg.Go(func() {
		for storming() {
			if external {
				_, err := c.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: id})
				refused(err)
				_, err = c.ImportKeyMaterial(ctx, material)
				refused(err)
			} else {
				_, err := c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: id})
				refused(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	wg.Wait()
	if external {
		must2(t)(c.ImportKeyMaterial(ctx, material))
	}
	must2(t)(c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id}))
	for text, blob := range blobs {
		dec, err := c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
		must(t, err)
		if string(dec.Plaintext) != text {
			t.Errorf("%q of %q", dec.Plaintext, text)
		}
	}
	if len(blobs) < 10 {
		t.Errorf("%d ciphertexts", len(blobs))
	}
	if log := s.log.String(); strings.Contains(log, "ERROR") {
		t.Errorf("log:\n%s", log)
	}
}
