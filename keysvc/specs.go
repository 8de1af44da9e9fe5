// SPDX-License-Identifier: Apache-2.0

package keysvc

import (
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// keyKindOf is the spec and the usage that a new key is asked to have.
func keyKindOf(in *kms.CreateKeyInput) (spec, usage string, err error) {
	if in.KeySpec != "" && in.CustomerMasterKeySpec != "" {
		return "", "", validationError("You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.")
	}
	spec = string(in.KeySpec) + string(in.CustomerMasterKeySpec)
	if spec == "" {
		spec = specSymmetric
	}
	switch {
	case spec != specSymmetric:
		return "", "", unsupported("KeySpec %s is not supported by this key service.", spec)
	case in.KeyUsage != "" && in.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return "", "", validationError("KeyUsage %s is not compatible with KeySpec %s", in.KeyUsage, spec)
	}
	return spec, string(types.KeyUsageTypeEncryptDecrypt), nil
}

// describeAlgorithms fills in what a key of a spec and usage can do.
func describeAlgorithms(m *types.KeyMetadata, spec, usage string) {
	m.EncryptionAlgorithms = []types.EncryptionAlgorithmSpec{types.EncryptionAlgorithmSpecSymmetricDefault}
}
