// SPDX-License-Identifier: Apache-2.0

package keysvc_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func TestMACs(t *testing.T) {
	s := newServer(t)
	c := s.admin()
	for spec, size := range map[types.KeySpec]int{"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64} {
		algorithm := types.MacAlgorithmSpec("HMAC_SHA_" + string(spec[len(spec)-3:]))
		for _, protection := range []string{"hsm", "memory"} {
			arn := s.keyOf(spec, "GENERATE_VERIFY_MAC", protection)
			made, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &arn, Message: []byte("message"), MacAlgorithm: algorithm})
			must(t, err)
			if *made.KeyId != arn || made.MacAlgorithm != algorithm || len(made.Mac) != size {
				t.Errorf("%s %s: %+v", spec, protection, made)
			}
			verify := func(message string, mac []byte) error {
				out, err := c.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: &arn, Message: []byte(message), Mac: mac, MacAlgorithm: algorithm})
				if err == nil && (!out.MacValid || *out.KeyId != arn || out.MacAlgorithm != algorithm) {
					t.Errorf("%s %s: %+v", spec, protection, out)
				}
				return err
			}
			must(t, verify("message", made.Mac))
			wantError(t, verify("massage", made.Mac), "KMSInvalidMacException", "-")
			for _, mac := range [][]byte{made.Mac[:size-1], append(made.Mac[:size:size], 0), make([]byte, 6144)} {
				wantError(t, verify("message", mac), "KMSInvalidMacException", "-")
			}
		}
	}
	arn := s.keyOf("HMAC_256", "GENERATE_VERIFY_MAC", "")
	dry := "The request would have succeeded, but the DryRun option is set."
	_, err := c.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: &arn, Message: []byte("m"), MacAlgorithm: "HMAC_SHA_256", DryRun: ptr(true)})
	wantError(t, err, "DryRunOperationException", dry)
	_, err = c.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: &arn, Message: []byte("m"), Mac: []byte("m"), MacAlgorithm: "HMAC_SHA_256", DryRun: ptr(true)})
	wantError(t, err, "DryRunOperationException", dry)
}
