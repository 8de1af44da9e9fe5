// SPDX-License-Identifier: Apache-2.0

package s3gateway_test

import (
	"encoding/base64"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sidekey/sidekey/proxy/envelope"
	"github.com/sidekey/sidekey/s3gateway"
)

// TestJoinedCRCs compares joined CRCs with those of the whole.
func TestJoinedCRCs(t *testing.T) {
	for _, algorithm := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme} {
		whole := content(100_003)
		for _, cuts := range [][]int{{0}, {1}, {100_003}, {5, 7}, {16384, 16385, 99_999}, {8, 8, 8}} {
			table := &envelope.Table{Algorithm: string(algorithm)}
			from := 0
			for _, to := range append(cuts, len(whole)) {
				raw, err := base64.StdEncoding.DecodeString(crcOf(algorithm, whole[from:to]))
				if err != nil {
					t.Fatal(err)
				}
				table.Parts = append(table.Parts, envelope.TablePart{Size: int64(to - from), Checksum: raw})
				from = to
			}
			got := base64.StdEncoding.EncodeToString(s3gateway.WholeChecksum(table))
			if want := crcOf(algorithm, whole); got != want {
				t.Errorf("%s of pieces %v: %s, want %s", algorithm, cuts, got, want)
			}
		}
	}
}
