// SPDX-License-Identifier: Apache-2.0

package dbproxy

// Codecs for tests.
var (
	DecodeValue = decodeValue
	EncodeValue = encodeValue
)
